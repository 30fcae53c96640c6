"""The ACME resources, one module each (RFC 8555 section 7.1)."""
