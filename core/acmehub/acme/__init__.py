"""The device's wing: the ACME server (RFC 8555)."""
