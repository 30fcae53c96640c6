"""PostgreSQL as the storage of acmehub."""
