"""ACME accounts and the tokens that bind them (RFC 8555 section 7.3)."""
