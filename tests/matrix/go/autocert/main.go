// A client made of golang.org/x/crypto: autocert orders; revocation and key change are acme.Client's.
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const accountFile = "acme_account+key" // autocert's own name for it in its cache

var (
	directory = flag.String("directory", "", "URL of the ACME server's directory")
	kid       = flag.String("kid", "", "key identifier of the external account; none without")
	hmac      = flag.String("hmac", "", "its HMAC key, base64url")
	root      = flag.String("ca", "", "PEM file of the root that the server's certificate leads to")
	name      = flag.String("name", "", "name to order a certificate for")
	out       = flag.String("out", ".", "autocert's cache, and where chain.pem is written")
	act       = flag.String("do", "issue", "issue, renew, revoke or roll (change the account's key)")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	client, err := newClient()
	if err != nil {
		return err
	}
	switch *act {
	case "issue", "renew":
		return obtain(client, *act == "renew")
	case "revoke", "roll":
		if client.Key, err = loadAccountKey(); err != nil {
			return err
		}
	}
	switch *act {
	case "revoke":
		text, err := os.ReadFile(filepath.Join(*out, "chain.pem"))
		if err != nil {
			return err
		}
		block, _ := pem.Decode(text)
		return client.RevokeCert(ctx, nil, block.Bytes, acme.CRLReasonSuperseded)
	case "roll":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if err := client.AccountKeyRollover(ctx, key); err != nil {
			return err
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
		return os.WriteFile(filepath.Join(*out, accountFile), text, 0o600)
	}
	return fmt.Errorf("no such act: %s", *act)
}

func newClient() (*acme.Client, error) {
	text, err := os.ReadFile(*root)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	return &acme.Client{DirectoryURL: *directory, HTTPClient: &http.Client{Transport: transport}}, nil
}

// obtain does what a TLS server does with autocert: it asks for the certificate of a name. To renew early, the one in
// the cache is thrown away, as autocert renews in the last 30 days at the soonest.
func obtain(client *acme.Client, renew bool) error {
	manager := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(*out),
		HostPolicy: autocert.HostWhitelist(*name),
		Client:     client,
		Email:      "ops@example.org",
	}
	if *kid != "" {
		key, err := base64.RawURLEncoding.DecodeString(*hmac)
		if err != nil {
			return err
		}
		manager.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: *kid, Key: key}
	}
	if renew {
		if err := os.Remove(filepath.Join(*out, *name)); err != nil {
			return err
		}
	}
	certificate, err := manager.GetCertificate(&tls.ClientHelloInfo{
		ServerName:        *name,
		SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedCurves:   []tls.CurveID{tls.CurveP256},
		CipherSuites:      []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SupportedVersions: []uint16{tls.VersionTLS13},
	})
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for _, der := range certificate.Certificate {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(*out, "chain.pem"), text.Bytes(), 0o644)
}

func loadAccountKey() (crypto.Signer, error) {
	text, err := os.ReadFile(filepath.Join(*out, accountFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no account key")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}
