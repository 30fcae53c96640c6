"""Faults of an upstream for `FaultProxy` (docs/reliability.md, F13 to F28)."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from acmehub.models.problems import URN
from acmehub.testing.fault_proxy import Call, Fault, FaultProxy, Forward, ProxyReply

_HTML = b"<html><head><title>Sorry</title></head><body><h1>Something is broken</h1></body></html>"


def cut_before_request(call: Call, forward: Forward) -> ProxyReply:  # noqa: ARG001
    """The connection ends before the CA gets the request."""
    return ProxyReply(cut=-1)


def cut_after_request(call: Call, forward: Forward) -> ProxyReply:
    """F14: the CA has handled the request, the response is lost."""
    forward(call)
    return ProxyReply(cut=-1)


def cut_mid_answer(call: Call, forward: Forward) -> ProxyReply:
    """F15: half of the response arrives."""
    reply = forward(call)
    return msgspec.structs.replace(reply, cut=len(reply.body) // 2)


def silence(seconds: float) -> Fault:
    """The response of the CA arrives after so many seconds."""

    def fault(call: Call, forward: Forward) -> ProxyReply:
        time.sleep(seconds)
        return forward(call)

    return fault


def html(status: int, *, retry_after: str = "") -> Fault:
    """F16: an HTML page."""
    headers = (("Content-Type", "text/html"), *((("Retry-After", retry_after),) if retry_after else ()))
    return lambda _call, _forward: ProxyReply(status=status, headers=headers, body=_HTML)


def redirect(target: str, *, status: int = 301) -> Fault:
    """A redirect."""
    return lambda _call, _forward: ProxyReply(status=status, headers=(("Location", target),))


def answers(body: bytes, *, status: int = 200, content_type: str = "application/json") -> Fault:
    """A response with any body."""
    return lambda _call, _forward: ProxyReply(status=status, headers=(("Content-Type", content_type),), body=body)


def problem(status: int, type: str, detail: str, *, retry_after: str = "", date: str = "", **members: Any) -> Fault:
    """A problem document; `type` is the short name of an ACME error, `members` are added."""
    document = {"type": URN + type, "detail": detail, "status": status, **members}
    headers = [("Content-Type", "application/problem+json")]
    headers += [("Retry-After", retry_after)] if retry_after else []
    headers += [("Date", date)] if date else []
    return lambda _call, _forward: ProxyReply(status=status, headers=tuple(headers), body=json.dumps(document).encode())


def rate_limited(retry_after: str, *, date: str = "") -> Fault:
    """F17: too many requests; `retry_after` in seconds or as an HTTP date, `date`: the CA's clock."""
    return problem(429, "rateLimited", "too many new orders recently", retry_after=retry_after, date=date)


def bad_nonce(proxy: FaultProxy) -> Fault:
    """F18: the nonce is rejected; the refusal has a good one."""
    refuse = problem(400, "badNonce", "the proxy does not like this nonce")

    def fault(call: Call, forward: Forward) -> ProxyReply:
        return refuse(call, forward).with_header("Replay-Nonce", proxy.nonce())

    return fault


def changed(members: Mapping[str, Any]) -> Fault:
    """The CA's JSON with some members changed: F19 to F21, an order that is `processing` …"""

    def fault(call: Call, forward: Forward) -> ProxyReply:
        reply = forward(call)
        return msgspec.structs.replace(reply, body=json.dumps({**json.loads(reply.body), **members}).encode())

    return fault


def chain(change: Callable[[str], str]) -> Fault:
    """F25: the CA's chain, changed: `leaf_alone`, `with_text`, `lambda chain: another_chain` …"""

    def fault(call: Call, forward: Forward) -> ProxyReply:
        reply = forward(call)
        return msgspec.structs.replace(reply, body=change(reply.body.decode()).encode())

    return fault


def leaf_alone(pem: str) -> str:
    """The first certificate of a chain."""
    end = "-----END CERTIFICATE-----\n"
    return pem[: pem.index(end) + len(end)]


def with_text(pem: str) -> str:
    """A chain with text before, between and after its certificates."""
    begin = "-----BEGIN CERTIFICATE-----"
    return "Here you are:\n" + pem.replace(begin, f"subject=CN = somebody\n{begin}") + "\nBest regards, your CA\n"


def headers(values: Mapping[str, str]) -> Fault:
    """The CA's response with some headers set."""

    def fault(call: Call, forward: Forward) -> ProxyReply:
        reply = forward(call)
        for name, value in values.items():
            reply = reply.with_header(name, value)
        return reply

    return fault
