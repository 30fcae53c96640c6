"""Clients from Rust packages."""

from tests.matrix.contract import Client

CLIENTS: list[Client] = []
