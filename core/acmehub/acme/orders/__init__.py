"""Orders as clients see them, from newOrder to the certificate (RFC 8555 section 7.4)."""
