"""Examples of requests, for the OpenAPI document: bodies by operation."""

from typing import Any

EXAMPLES: dict[str, Any] = {
    "principal.add": {"name": "firewall-01", "roles": [{"role": "managed_acme_consumer", "tags": ["dmz"]}]},
    "principal.set": {"enabled": False},
    "token.add": {"title": "Firewall 01", "principal": "firewall-01", "names": "*.corp.test"},
    "token.set": {"networks": ["192.0.2.0/24"], "expires": None},
    "token.actions": {"action": "revoke", "ids": ["Firewall 01", "Firewall 02"]},
    "challenge.add": {
        "name": "corp zone",
        "plugin": "dns_rfc2136",
        "match": "corp.test, *.corp.test",
        "settings": {"server": "192.0.2.53", "key_name": "acmehub", "key_secret": "c2VjcmV0LW9mLXRoZS1rZXk="},
        "tags": ["dmz"],
    },
    "challenge.set": {"propagation": {"limit": 300}},
    "authority.add": {
        "name": "letsencrypt",
        "plugin": "ca_acme",
        "settings": {"directory": "https://acme-v02.api.letsencrypt.org/directory"},
    },
    "authority.set": {"default": True},
    "profile.add": {"name": "short", "description": "Six days", "authority": "letsencrypt"},
    "profile.set": {"enabled": True},
    "campaign.add": {"renew_by": "2099-11-27T18:00:00Z", "authority": "letsencrypt", "reason": "incident 42"},
    "account.set": {"learned": "accept"},
    "certificate.revoke": {"reason": "superseded"},
    "check": {"names": ["www.corp.test"], "principal": "firewall-01"},
    "apply": {"principal": [{"name": "firewall-01", "roles": ["managed_acme_consumer:dmz"]}]},
}
"""A body that each operation with a body takes."""
