"""The SQLite driver: one writer thread, files and locks."""
