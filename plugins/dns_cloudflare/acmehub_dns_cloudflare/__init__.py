"""TXT records in Cloudflare zones for acmehub."""
