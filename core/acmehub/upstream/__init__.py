"""The hub as an ACME client of upstream CAs; no other package imports `acme`, `josepy` and `requests`.

CA plugins build on `AcmeRelay` (`authority.py`, a `RelayAuthority`) and on `RelaySettings`.
"""
