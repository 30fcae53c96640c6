"""The ACME server over HTTP: signed requests, nonces, routes, long polls (RFC 8555 section 6)."""
