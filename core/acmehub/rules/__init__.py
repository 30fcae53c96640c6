"""Decisions as pure functions: no I/O, no clock; tests cover every line and branch."""
