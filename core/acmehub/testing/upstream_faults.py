"""Faults of an upstream for `FaultProxy` to play (docs/reliability.md, F13 to F28)."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from acmehub.models.problems import URN
from acmehub.testing.fault_proxy import Call, Fault, FaultProxy, Forward, ProxyReply

_HTML = b"<html><head><title>Sorry</title></head><body><h1>Something is broken</h1></body></html>"


def cut_before_request(call: Call, forward: Forward) -> ProxyReply:  # noqa: ARG001
    """The connection ends and the CA never hears of it."""
    return ProxyReply(cut=-1)


def cut_after_request(call: Call, forward: Forward) -> ProxyReply:
    """F14: the CA has done it, the answer is lost."""
    forward(call)
    return ProxyReply(cut=-1)


def cut_mid_answer(call: Call, forward: Forward) -> ProxyReply:
    """F15: half of the answer comes."""
    reply = forward(call)
    return msgspec.structs.replace(reply, cut=len(reply.body) // 2)


def silence(seconds: float) -> Fault:
    """No answer for so long; then the CA's."""

    def fault(call: Call, forward: Forward) -> ProxyReply:
        time.sleep(seconds)
        return forward(call)

    return fault


def html(status: int, *, retry_after: str = "") -> Fault:
    """F16: a page for people."""
    headers = (("Content-Type", "text/html"), *((("Retry-After", retry_after),) if retry_after else ()))
    return lambda _call, _forward: ProxyReply(status=status, headers=headers, body=_HTML)


def redirect(target: str, *, status: int = 301) -> Fault:
    """The client is sent elsewhere."""
    return lambda _call, _forward: ProxyReply(status=status, headers=(("Location", target),))


def answers(body: bytes, *, status: int = 200, content_type: str = "application/json") -> Fault:
    """An answer with any body."""
    return lambda _call, _forward: ProxyReply(status=status, headers=(("Content-Type", content_type),), body=body)


def problem(status: int, type: str, detail: str, *, retry_after: str = "", date: str = "", **members: Any) -> Fault:
    """A problem document; `type` is the short name of an ACME error, further `members` as they are given."""
    document = {"type": URN + type, "detail": detail, "status": status, **members}
    headers = [("Content-Type", "application/problem+json")]
    headers += [("Retry-After", retry_after)] if retry_after else []
    headers += [("Date", date)] if date else []
    return lambda _call, _forward: ProxyReply(status=status, headers=tuple(headers), body=json.dumps(document).encode())


def rate_limited(retry_after: str, *, date: str = "") -> Fault:
    """F17: too many requests; `retry_after` in seconds or as an HTTP date, `date` what the CA's clock says."""
    return problem(429, "rateLimited", "too many new orders recently", retry_after=retry_after, date=date)


def bad_nonce(proxy: FaultProxy) -> Fault:
    """F18: the nonce is not accepted; a good one comes with the refusal."""
    refuse = problem(400, "badNonce", "the proxy does not like this nonce")

    def fault(call: Call, forward: Forward) -> ProxyReply:
        return refuse(call, forward).with_header("Replay-Nonce", proxy.nonce())

    return fault


def changed(members: Mapping[str, Any]) -> Fault:
    """The CA's JSON answer with some members changed: F19 to F21, an order that is `processing` …"""

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
    """A chain with words before, between and after its certificates."""
    begin = "-----BEGIN CERTIFICATE-----"
    return "Here you are:\n" + pem.replace(begin, f"subject=CN = somebody\n{begin}") + "\nBest regards, your CA\n"


def headers(values: Mapping[str, str]) -> Fault:
    """The CA's answer with some headers set."""

    def fault(call: Call, forward: Forward) -> ProxyReply:
        reply = forward(call)
        for name, value in values.items():
            reply = reply.with_header(name, value)
        return reply

    return fault
