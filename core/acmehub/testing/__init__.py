"""Contract suites, fakes, test servers and a fault proxy, for the tests of the hub and of plugins."""
