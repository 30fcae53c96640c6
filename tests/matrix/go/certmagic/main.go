// A client made of CertMagic: certificates are managed once, and the program ends.
//
// Its RevokeCert is left out: it signs with the account's key but sends it as the certificate's, which RFC 8555 section
// 7.6 has servers refuse.
package main

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"os"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

var (
	directory = flag.String("directory", "", "URL of the ACME server's directory")
	kid       = flag.String("kid", "", "key identifier of the external account; none without")
	hmac      = flag.String("hmac", "", "its HMAC key, base64url")
	root      = flag.String("ca", "", "PEM file of the root that the server's certificate leads to")
	profile   = flag.String("profile", "", "certificate profile")
	name      = flag.String("name", "", "name to manage a certificate for")
	out       = flag.String("out", ".", "CertMagic's storage")
	port      = flag.Int("port", 0, "port for the answer to http-01")
	act       = flag.String("do", "manage", "manage (obtain, or renew if due) or renew (due or not)")
)

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	text, err := os.ReadFile(*root)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	logger, err := zap.NewProduction()
	if err != nil {
		return err
	}
	template := certmagic.Config{Storage: &certmagic.FileStorage{Path: *out}, Logger: logger}
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		Logger:           logger,
	})
	defer cache.Stop()
	config = certmagic.New(cache, template)
	issuer := certmagic.ACMEIssuer{
		CA:                      *directory,
		Email:                   "ops@example.org",
		Agreed:                  true,
		Profile:                 *profile,
		AltHTTPPort:             *port,
		DisableTLSALPNChallenge: true,
		TrustedRoots:            roots,
		Logger:                  logger,
	}
	if *kid != "" {
		issuer.ExternalAccount = &acme.EAB{KeyID: *kid, MACKey: *hmac}
	}
	config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(config, issuer)}
	switch *act {
	case "manage":
		return config.ManageSync(ctx, []string{*name})
	case "renew":
		return config.RenewCertSync(ctx, *name, true)
	}
	return fmt.Errorf("no such act: %s", *act)
}
