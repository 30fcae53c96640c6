"""Driving the HTTP server: sockets, TLS, signals, logs."""
