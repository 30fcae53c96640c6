// A client made of acmez, after its documentation: order, renew (also because ARI says so), revoke, change the key.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// names is a flag that may be given many times.
type names []string

func (n *names) String() string         { return strings.Join(*n, ",") }
func (n *names) Set(value string) error { *n = append(*n, value); return nil }

// nothing is a solver whose answers nobody asks for.
type nothing struct{}

func (nothing) Present(context.Context, acme.Challenge) error { return nil }
func (nothing) CleanUp(context.Context, acme.Challenge) error { return nil }

var (
	directory = flag.String("directory", "", "URL of the ACME server's directory")
	kid       = flag.String("kid", "", "key identifier of the external account; none without")
	hmac      = flag.String("hmac", "", "its HMAC key, base64url")
	root      = flag.String("ca", "", "PEM file of the root that the server's certificate leads to")
	profile   = flag.String("profile", "", "certificate profile")
	out       = flag.String("out", ".", "folder for account, key and chain")
	act       = flag.String("do", "issue", "issue, ari (renew if ARI says so), revoke or roll (change the account's key)")
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
	account, err := loadAccount(ctx, client)
	if err != nil {
		return fmt.Errorf("account: %w", err)
	}
	switch *act {
	case "issue":
		return issue(ctx, client, account, nil)
	case "ari":
		return renewIfDue(ctx, client, account)
	case "revoke":
		leaf, err := loadLeaf()
		if err != nil {
			return err
		}
		return client.RevokeCertificate(ctx, account, leaf, nil, acme.ReasonSuperseded)
	case "roll":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		account, err = client.AccountKeyRollover(ctx, account, key)
		if err != nil {
			return err
		}
		return saveAccount(account)
	}
	return fmt.Errorf("no such act: %s", *act)
}

func newClient() (*acmez.Client, error) {
	text, err := os.ReadFile(*root)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	solvers := map[string]acmez.Solver{acme.ChallengeTypeHTTP01: nothing{}, acme.ChallengeTypeDNS01: nothing{}}
	plain := &acme.Client{Directory: *directory, HTTPClient: &http.Client{Transport: transport}}
	return &acmez.Client{Client: plain, ChallengeSolvers: solvers}, nil
}

func issue(ctx context.Context, client *acmez.Client, account acme.Account, replaces *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := acmez.NewCSR(key, wanted)
	if err != nil {
		return err
	}
	order, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return err
	}
	order.Profile, order.Replaces = *profile, replaces
	chains, err := client.ObtainCertificate(ctx, order)
	if err != nil {
		return err
	}
	if err := saveKey("key.pem", key); err != nil {
		return err
	}
	return os.WriteFile(file("chain.pem"), chains[0].ChainPEM, 0o644)
}

func renewIfDue(ctx context.Context, client *acmez.Client, account acme.Account) error {
	leaf, err := loadLeaf()
	if err != nil {
		return err
	}
	info, err := client.GetRenewalInfo(ctx, leaf)
	if err != nil {
		return err
	}
	if wait := time.Until(info.SuggestedWindow.Start); wait > 0 {
		return fmt.Errorf("not due for %s", wait)
	}
	return issue(ctx, client, account, leaf)
}

// ---------------------------------------------------------------------------------------------- account and files

func file(name string) string { return filepath.Join(*out, name) }

func loadAccount(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	text, err := os.ReadFile(file("account.json"))
	if os.IsNotExist(err) {
		return register(ctx, client)
	}
	if err != nil {
		return acme.Account{}, err
	}
	var account acme.Account
	if err := json.Unmarshal(text, &account); err != nil {
		return account, err
	}
	text, err = os.ReadFile(file("account.pem"))
	if err != nil {
		return account, err
	}
	block, _ := pem.Decode(text)
	account.PrivateKey, err = x509.ParseECPrivateKey(block.Bytes)
	return account, err
}

func register(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, err
	}
	account := acme.Account{Contact: []string{"mailto:ops@example.org"}, TermsOfServiceAgreed: true, PrivateKey: key}
	if *kid != "" {
		if err := account.SetExternalAccountBinding(ctx, client.Client, acme.EAB{KeyID: *kid, MACKey: *hmac}); err != nil {
			return account, err
		}
	}
	account, err = client.NewAccount(ctx, account)
	if err != nil {
		return account, err
	}
	return account, saveAccount(account)
}

func saveAccount(account acme.Account) error {
	text, err := json.Marshal(account)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file("account.json"), text, 0o600); err != nil {
		return err
	}
	return saveKey("account.pem", account.PrivateKey)
}

func saveKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	return os.WriteFile(file(name), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func loadLeaf() (*x509.Certificate, error) {
	text, err := os.ReadFile(file("chain.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	return x509.ParseCertificate(block.Bytes)
}
