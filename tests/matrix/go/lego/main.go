// lego's own command line (lego v5), with the DNS providers `exec` and `rfc2136` only.
//
// Its own main package cannot be built here: some of its DNS providers need modules that the Go module proxy does not
// serve. lego has a build tag for a chosen few (`lego_dnslight`), and what its main does beyond calling its `cmd`
// package is to print the version.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/go-acme/lego/v5/cmd"
)

func main() {
	root := cmd.CreateRootCommand()
	root.Version = "5.6.0"
	if err := root.Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
