"""The modules that offer `CLIENTS`."""

import importlib
from collections.abc import Sequence

from tests.matrix.contract import Client

FROM_DEBIAN_AND_PYPI = ("clients_debian", "clients_pypi")
REGISTRIES = ("clients_old", "clients_ruby", "ansible", "clients_npm", "clients_sid", "clients_go", "clients_rust")
ALL = (*FROM_DEBIAN_AND_PYPI, *REGISTRIES, "clients_java")
FROM_SOURCE = ("clients_sources",)


def clients(modules: Sequence[str] = ALL) -> list[Client]:
    """The clients of these modules, in this order."""
    return [item for name in modules for item in importlib.import_module(f"tests.matrix.{name}").CLIENTS]
