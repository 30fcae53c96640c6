"""The contract between the engine and what can be exchanged: storage, authorities, DNS providers, notifiers."""
