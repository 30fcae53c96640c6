// Package ext stands in for a module inside Traefik's repository that is in no registry; Traefik embeds these two.
package ext

// HTTP would extend Traefik's HTTP configuration.
type HTTP struct{}

// Router would extend a router.
type Router struct{}
