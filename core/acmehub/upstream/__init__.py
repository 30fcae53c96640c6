"""The hub as an ACME client of upstream CAs; no other package imports `acme` and `josepy`.

CA plugins build on `AcmeRelay` (`authority.py`, a `RelayAuthority`) and on `RelaySettings`.
"""
