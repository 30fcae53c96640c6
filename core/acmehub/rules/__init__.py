"""Pure decisions: no I/O, no clock, all of it covered by tests."""
