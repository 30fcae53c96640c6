// Traefik's ACME provider, driven as Traefik drives it: a router whose `tls` names the resolver and the domains.
//
// Traefik itself cannot be built here: it needs modules that the Go module proxy does not serve (DNS providers, and a
// fork of a basic-auth module). What speaks ACME in it is this package, whole.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	ptypes "github.com/traefik/paerser/types"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
	"github.com/traefik/traefik/v3/pkg/provider/acme"
	"github.com/traefik/traefik/v3/pkg/safe"
	"github.com/traefik/traefik/v3/pkg/tls"
	"github.com/traefik/traefik/v3/pkg/types"
	"github.com/traefik/traefik/v3/pkg/version"
)

// names is a flag that may be given many times.
type names []string

func (n *names) String() string         { return strings.Join(*n, ",") }
func (n *names) Set(value string) error { *n = append(*n, value); return nil }

const resolver = "hub"

var (
	directory = flag.String("directory", "", "URL of the ACME server's directory (caServer)")
	kid       = flag.String("kid", "", "key identifier of the external account (eab.kid); none without")
	hmac      = flag.String("hmac", "", "its HMAC key, base64url (eab.hmacEncoded)")
	root      = flag.String("ca", "", "PEM file of the root that the server's certificate leads to (caCertificates)")
	profile   = flag.String("profile", "", "certificate profile")
	out       = flag.String("out", ".", "folder for acme.json and chain.pem")
	patience  = flag.Duration("certificate-timeout", 30*time.Second, "certificateTimeout")
	wanted    names
)

func main() {
	flag.Var(&wanted, "name", "domain of the router; further ones are its SANs (repeatable)")
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	version.Version = "3.7.13"
	pool := safe.NewPool(ctx)
	defer pool.Stop()
	provider := &acme.Provider{Configuration: configuration(), ResolverName: resolver}
	provider.Store = acme.NewLocalStore(filepath.Join(*out, "acme.json"), pool)
	provider.HTTPChallengeProvider = acme.NewChallengeHTTP()
	provider.TLSChallengeProvider = acme.NewChallengeTLSALPN()
	provider.SetTLSManager(tls.NewManager(nil))
	provider.SetConfigListenerChan(make(chan dynamic.Configuration))
	if err := provider.Init(); err != nil {
		return err
	}
	messages := make(chan dynamic.Message, 16)
	if err := provider.Provide(messages, pool); err != nil {
		return err
	}
	domain := types.Domain{Main: wanted[0], SANs: wanted[1:]}
	route := &dynamic.RouterTLSConfig{CertResolver: resolver, Domains: []types.Domain{domain}}
	router := &dynamic.Router{Rule: "PathPrefix(`/`)", TLS: route}
	routers := map[string]*dynamic.Router{"router": router}
	provider.ListenConfiguration(dynamic.Configuration{HTTP: &dynamic.HTTPConfiguration{Routers: routers}})
	for message := range messages {
		for _, found := range message.Configuration.TLS.Certificates {
			return os.WriteFile(filepath.Join(*out, "chain.pem"), []byte(found.CertFile), 0o644)
		}
	}
	return errors.New("the provider has stopped")
}

func configuration() *acme.Configuration {
	configuration := &acme.Configuration{}
	configuration.SetDefaults()
	configuration.CAServer = *directory
	configuration.CACertificates = []string{*root}
	configuration.Email = "ops@example.org"
	configuration.Profile = *profile
	configuration.CertificateTimeout = ptypes.Duration(*patience)
	configuration.HTTPChallenge = &acme.HTTPChallenge{EntryPoint: "web"}
	configuration.Storage = filepath.Join(*out, "acme.json")
	if *kid != "" {
		configuration.EAB = &acme.EAB{Kid: *kid, HmacEncoded: *hmac}
	}
	return configuration
}
