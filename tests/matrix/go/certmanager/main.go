// A client made of cert-manager's ACME package, which its controllers use; the steps are those of the Order controller.
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
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
	"strings"
	"time"

	acmeutil "github.com/cert-manager/cert-manager/pkg/acme/util"
	"github.com/cert-manager/cert-manager/third_party/forked/acme"
)

// names is a flag that may be given many times.
type names []string

func (n *names) String() string         { return strings.Join(*n, ",") }
func (n *names) Set(value string) error { *n = append(*n, value); return nil }

// What cert-manager sets: pkg/util/useragent.go and pkg/acme/accounts/client.go.
const (
	userAgent   = "cert-manager-issuers/v1.21.2 (linux/amd64) cert-manager/unknown"
	httpTimeout = 90 * time.Second
)

var (
	directory = flag.String("directory", "", "URL of the ACME server's directory (spec.acme.server)")
	kid       = flag.String("kid", "", "key identifier of the external account; none without")
	hmac      = flag.String("hmac", "", "its HMAC key, base64url")
	root      = flag.String("ca", "", "PEM file of the root that the server's certificate leads to (caBundle)")
	profile   = flag.String("profile", "", "certificate profile")
	out       = flag.String("out", ".", "folder for account, key and chain")
	act       = flag.String("do", "issue", "issue, or ari (renew if ARI says so)")
	wanted    names
)

func main() {
	flag.Var(&wanted, "name", "name to order a certificate for (repeatable)")
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
	if err := register(ctx, client); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	var options []acme.OrderOption
	if *profile != "" {
		options = append(options, acme.WithOrderProfile(*profile))
	}
	if *act == "ari" {
		replaces, err := replacesIfDue(ctx, client)
		if err != nil {
			return err
		}
		options = append(options, replaces)
	}
	return issue(ctx, client, options)
}

func newClient() (*acme.Client, error) {
	text, err := os.ReadFile(*root)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	key, err := accountKey()
	if err != nil {
		return nil, err
	}
	return &acme.Client{
		Key:          key,
		DirectoryURL: *directory,
		UserAgent:    userAgent,
		RetryBackoff: acmeutil.RetryBackoff,
		HTTPClient: &http.Client{
			Timeout:   httpTimeout,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		},
	}, nil
}

// register is what cert-manager does whenever its process starts anew.
func register(ctx context.Context, client *acme.Client) error {
	account := &acme.Account{Contact: []string{"mailto:ops@example.org"}}
	if *kid != "" {
		key, err := base64.RawURLEncoding.DecodeString(*hmac)
		if err != nil {
			return err
		}
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: *kid, Key: key}
	}
	_, err := client.Register(ctx, account, acme.AcceptTOS)
	if errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil
	}
	return err
}

func issue(ctx context.Context, client *acme.Client, options []acme.OrderOption) error {
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(wanted...), options...)
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	for _, url := range order.AuthzURLs {
		authorization, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return err
		}
		if authorization.Status != acme.StatusValid {
			return fmt.Errorf("authorization is %s: cert-manager would check its own answer first", authorization.Status)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: wanted}, key)
	if err != nil {
		return err
	}
	chain, _, err := client.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil {
		return fmt.Errorf("finalize: %w", err)
	}
	if err := saveKey("key.pem", key); err != nil {
		return err
	}
	var text bytes.Buffer
	for _, der := range chain {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(*out, "chain.pem"), text.Bytes(), 0o644)
}

func replacesIfDue(ctx context.Context, client *acme.Client) (acme.OrderOption, error) {
	text, err := os.ReadFile(filepath.Join(*out, "chain.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	info, err := client.GetRenewalInfo(ctx, leaf)
	if err != nil {
		return nil, err
	}
	if wait := time.Until(info.SuggestedWindow.Start); wait > 0 {
		return nil, fmt.Errorf("not due for %s", wait)
	}
	return acme.WithOrderReplacesCertificate(leaf)
}

func accountKey() (crypto.Signer, error) {
	text, err := os.ReadFile(filepath.Join(*out, "account.pem"))
	if os.IsNotExist(err) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		return key, saveKey("account.pem", key)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return key.(crypto.Signer), nil
}

func saveKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return os.WriteFile(filepath.Join(*out, name), text, 0o600)
}
