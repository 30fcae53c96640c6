"""Clients from Java packages."""

from tests.matrix.contract import Client

CLIENTS: list[Client] = []
