"""The hub as a client of other ACME servers: the one place that knows `acme`, `josepy` and `requests`.

`AcmeRelay` (in `authority`) is the `RelayAuthority` that CA plugins build on, `RelaySettings` what they are set by.
"""
