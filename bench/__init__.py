"""Benchmarks that users can repeat: a load generator for any ACME server, and a comparison with Pebble."""
