"""Fuzzing of what strangers send: `python -m tests.fuzz --minutes 10 jws|csr|chain|http`."""
