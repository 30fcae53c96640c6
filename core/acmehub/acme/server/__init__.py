"""The ACME server over HTTP: `create_app` gives the ASGI application of a hub."""

from acmehub.acme.server.app import create_app

__all__ = ["create_app"]
