"""The composition root: one hub from its configuration, and its ASGI application."""
