"""The REST API `/api/v1`: a face of `admin` for programs (docs/api.md)."""
