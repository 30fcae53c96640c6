"""Let's Encrypt as an authority of acmehub."""
