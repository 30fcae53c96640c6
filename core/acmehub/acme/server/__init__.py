"""The ACME server over HTTP: signed requests, nonces, routes, answers that wait (RFC 8555 section 6)."""
