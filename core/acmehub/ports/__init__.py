"""The contracts of exchangeable parts: storage, authorities, DNS providers, notifiers; and the hooks of plugins."""
