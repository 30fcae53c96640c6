"""ZeroSSL as an authority of acmehub."""
