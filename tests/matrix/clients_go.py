"""Clients from Go packages."""

from tests.matrix.contract import Client

CLIENTS: list[Client] = []
