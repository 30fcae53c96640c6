"""The audit over SQL: its entries, their lists, and the seals over them."""
