"""Limits on what clients do, and what is told of their refusals."""
