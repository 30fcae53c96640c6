"""Load in a process of its own, at full speed for some seconds: what one token does in a loop, or a stranger.

    python -m tests.load.generator flood https://127.0.0.1:8443/acme/directory --seconds 60 --kid … --hmac …

Prints what was answered, as JSON: how often each status, and the kinds of problems.
"""

import argparse
import asyncio
import json
import socket
import ssl
import time
from collections import Counter
from urllib.parse import urlsplit

from bench.acme_client import AccountKey, Client, Stats, Target, base64url, encode
from bench.http import Answer, LoadError

CLIENTS = 16


async def target_of(directory: str) -> Target:
    """The server behind a directory URL on loopback, whose certificate is not checked."""
    parts = urlsplit(directory)
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    address = socket.getaddrinfo("127.0.0.1", parts.port, type=socket.SOCK_STREAM)[0][4]
    bare = Target(directory, (str(address[0]), int(address[1])), {}, tls)
    answer = await Client(bare, Stats(), {}, AccountKey("ec256")).http("GET", directory)
    return Target(directory, bare.address, answer.json(), tls, retries=0)


class Loop:
    """Sends signed requests one after the other, whatever is answered."""

    def __init__(self, target: Target, found: Counter[str], kid: str = "", key: AccountKey | None = None) -> None:
        self.target = target
        self.found = found
        self.kid = kid
        self.key = key or AccountKey("ec256")
        self.client = Client(target, Stats(), {}, self.key)
        self.nonces: list[str] = []

    async def post(self, resource: str, payload: object) -> Answer:
        """One signed request."""
        url = self.target.urls[resource]
        nonce = self.nonces.pop() if self.nonces else await self.client.nonce()
        signer = {"kid": self.kid} if self.kid else {"jwk": self.key.jwk}
        protected = encode({"alg": self.key.alg, "nonce": nonce, "url": url, **signer})
        content = encode(payload)
        signature = base64url(self.key.sign(f"{protected}.{content}".encode()))
        body = json.dumps({"protected": protected, "payload": content, "signature": signature}).encode()
        answer = await self.client.http("POST", url, body)
        if "replay-nonce" in answer.headers:
            self.nonces = [answer.headers["replay-nonce"]]
        kind = "" if answer.status < 400 else " " + str(answer.json()["type"]).rpartition(":")[2]
        self.found[f"{answer.status}{kind}"] += 1
        return answer


async def flood(target: Target, end: float, kid: str, secret: str, found: Counter[str]) -> None:
    """One account of one token orders another name each time, over many connections."""
    key = AccountKey("ec256")
    registered = Client(target, Stats(), {}, key, (kid, secret))
    await registered.account()

    async def loop(number: int) -> None:
        sender = Loop(target, found, registered.kid, key)
        count = 0
        while time.monotonic() < end:
            count += 1
            name = f"n{count}-{number}.flood.example"
            await sender.post("newOrder", {"identifiers": [{"type": "dns", "value": name}]})

    await asyncio.gather(*map(loop, range(CLIENTS)))


async def stranger(target: Target, end: float, found: Counter[str]) -> None:
    """A fresh account key in every request: no binding, a binding of nobody's, and a `kid` of nobody's, in turn."""

    async def loop(number: int) -> None:
        sender = Loop(target, found)
        while time.monotonic() < end:
            sender.key, sender.kid = AccountKey("ec256"), ""
            number += 1
            payload: dict[str, object] = {"termsOfServiceAgreed": True}
            if number % 3 == 1:
                header = {"alg": "HS256", "kid": f"{number:044x}", "url": target.urls["newAccount"]}
                payload["externalAccountBinding"] = {
                    "protected": encode(header),
                    "payload": encode(sender.key.jwk),
                    "signature": base64url(b"\0" * 32),
                }
            elif number % 3 == 2:
                sender.kid = target.urls["newAccount"].replace("new-account", f"acct/{number:044x}")
            await sender.post("newOrder" if sender.kid else "newAccount", payload)

    await asyncio.gather(*map(loop, range(CLIENTS)))


async def run(options: argparse.Namespace) -> Counter[str]:
    """The load that was asked for."""
    found: Counter[str] = Counter()
    target = await target_of(options.directory)
    end = time.monotonic() + options.seconds
    try:
        if options.load == "flood":
            await flood(target, end, options.kid, options.hmac, found)
        else:
            await stranger(target, end, found)
    except LoadError as error:
        found[error.kind] += 1
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", choices=("flood", "stranger"))
    parser.add_argument("directory")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--kid", default="")
    parser.add_argument("--hmac", default="")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
