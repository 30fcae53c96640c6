"""For plugin authors' tests and ours: contract suites, fakes, test servers, and a proxy that plays faults."""
