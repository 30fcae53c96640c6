"""What `make run` and `make demo` do."""
