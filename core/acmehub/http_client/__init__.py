"""HTTP requests of the hub and its plugins on the event loop: one client for CAs, DNS providers and webhooks.

`client.py` has the class, `session.py` what needs aiohttp, which is imported with the first request.
"""
