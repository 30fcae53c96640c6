"""Fuzzing of input from clients and CAs: `python -m tests.fuzz --minutes 10 jws|csr|chain|http`."""
