"""TXT records by DNS UPDATE (RFC 2136) with TSIG for acmehub."""
