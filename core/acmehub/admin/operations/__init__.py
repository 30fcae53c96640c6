"""What operators do with orders, accounts, certificates and keys."""
