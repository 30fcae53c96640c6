"""ACME (RFC 8555) load generator: bounded, closed loop, for servers on loopback.

N clients run at once. Each has its own account key, keep-alive connection and nonce pool, and repeats
    newOrder -> authorizations -> [challenge, poll] -> finalize -> [poll order] -> certificate
until the common budget of N*M orders is used up (or --max-seconds passes). Keys and CSRs are made before the clock
starts; accounts and warm-up orders are a phase of their own, so that orders are measured alone: orders/s, requests/s,
latency per step, errors by kind, CPU of the generator, of the server (--server-pid) and of all else.

    python -m bench.acme_load https://127.0.0.1:14000/dir --insecure --clients 16 --orders 50 --server-pid 4711
"""

import argparse
import asyncio
import csv
import ipaddress
import json
import multiprocessing
import os
import resource
import socket
import ssl
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from bench.acme_client import (
    AccountKey,
    Client,
    Identifiers,
    Stats,
    Target,
    Work,
    base64url,
    check_chain,
    make_key,
    make_work,
)
from bench.http import LoadError
from bench.machine import busy_seconds, usage

Job = Callable[[Client], Awaitable[object]]
MODES = ("full", "nonce", "account", "order-only")


class Http01(asyncio.Protocol):
    """http-01 responses, for servers that validate."""

    def __init__(self, tokens: dict[str, bytes]) -> None:
        self._tokens = tokens
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not instances of it

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if b"\r\n\r\n" not in self._buffer:
            return
        token = self._buffer.split(b" ", 2)[1].rsplit(b"/", 1)[-1].decode()
        body = self._tokens.get(token, b"")
        status = b"200 OK" if body else b"404 Not Found"
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)
        self._transport.close()


async def run_clients(clients: Iterable[Client], jobs: list[Job], stats: Stats, label: str, max_seconds: float) -> None:
    """Run clients, which take jobs from one list until it is empty or the time is over."""
    stats.start = time.monotonic()
    deadline = stats.start + max_seconds

    async def loop(client: Client) -> None:
        while jobs and time.monotonic() < deadline:
            job = jobs.pop()
            try:
                await client.timed(f"= whole {label}", job(client))
                stats.done += 1
            except LoadError as error:
                stats.failed(error)
            except (KeyError, ValueError, TypeError) as error:  # a malformed answer must not stop the run
                stats.failed(LoadError(f"generator:{type(error).__name__}", str(error)))

    await asyncio.gather(*(loop(client) for client in clients))
    stats.end = time.monotonic()


def make_jobs(options: argparse.Namespace, process: int, count: int) -> list[Job]:
    """Make the keys and CSRs of a process."""
    # EC keys are cheap, one for each order; RSA keys come from a small pool (the CSR is still new for each order)
    rsa = options.csr_key_type == "rsa2048"
    pool = [make_key("rsa2048") for _ in range(min(32, count))] if rsa else []

    def work(number: int) -> Work:
        identifiers: Identifiers
        if options.identifier_type == "ip":  # validation comes back to this process's own loopback addresses
            identifiers = [("ip", f"127.0.{1 + j}.{10 + process}") for j in range(options.identifiers)]
        else:
            suffix = f"{options.run_id}{process}.{options.domain}"
            identifiers = [("dns", f"n{number}-{j}-{suffix}") for j in range(options.identifiers)]
        return make_work(identifiers, pool[number % len(pool)] if pool else make_key("ec256"), with_cn=options.cn)

    def job(number: int) -> Job:
        match options.mode:
            case "nonce":
                return Client.nonce
            case "account":
                key = AccountKey(options.key_type)
                return lambda client: client.account(key)
            case "order-only":
                identifiers = work(number).identifiers
                return lambda client: client.new_order(identifiers)
            case _:
                prepared = work(number)
                return lambda client: client.order(prepared)

    return [job(number) for number in range(count)]


def worker(
    barrier: Barrier, options: argparse.Namespace, target: Target, process: int, size: int, pipe: "Pipe[Any, Any]"
) -> None:
    """One generator process: prepare, register and warm up, run; each ends at the barrier with the parent."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    tokens: dict[str, bytes] = {}
    warm, stats = Stats(), Stats()
    eabs = options.eabs or [None]
    clients = [
        Client(target, warm, tokens, AccountKey(options.key_type), eabs[(process * size + i) % len(eabs)])
        for i in range(size)
    ]
    places_orders = options.mode in ("full", "order-only")
    warm_count = size * options.warmup if places_orders else 0
    jobs = make_jobs(options, process, size * options.orders + warm_count)
    warm_jobs, jobs = jobs[:warm_count], jobs[warm_count:]
    if options.http01_port:
        for j in range(max(1, options.identifiers)):
            host = f"127.0.{1 + j}.{10 + process}" if options.identifier_type == "ip" else "127.0.0.1"
            loop.run_until_complete(loop.create_server(lambda: Http01(tokens), host, options.http01_port))

    barrier.wait()
    if places_orders:
        loop.run_until_complete(register(clients, warm, options.max_seconds))
        clients = [client for client in clients if client.kid]
        loop.run_until_complete(run_clients(clients, warm_jobs, warm, options.mode, options.max_seconds))
    for client in clients:
        client.stats = stats
    barrier.wait()
    barrier.wait()
    before = resource.getrusage(resource.RUSAGE_SELF)
    loop.run_until_complete(run_clients(clients, jobs, stats, options.mode, options.max_seconds))
    after = resource.getrusage(resource.RUSAGE_SELF)
    barrier.wait()
    pipe.send(
        {
            "stats": (dict(stats.seconds), stats.count, stats.errors, stats.done, stats.start, stats.end),
            "warm": (warm.seconds.get("newAccount", []), warm.errors),
            "details": {**warm.details, **stats.details},
            "unstarted": len(jobs),
            "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "rss": after.ru_maxrss / 1024,
            "chain": check_chain(*stats.sample) if stats.sample else None,
        }
    )


async def register(clients: list[Client], stats: Stats, max_seconds: float) -> None:
    """One account for each client."""
    await asyncio.gather(
        *(run_clients([client], [Client.account], stats, "account", max_seconds) for client in clients)
    )


def guarded_worker(barrier: Barrier, *arguments: Any) -> None:
    """A worker that aborts the barrier when it fails."""
    finished = False
    try:
        worker(barrier, *arguments)
        finished = True
    finally:
        if not finished:
            barrier.abort()


def summary(values: list[float]) -> dict[str, float]:
    """Milliseconds of one step."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 3)

    mean = round(sum(ordered) / len(ordered) * 1000, 3)
    return {"n": len(ordered), "mean_ms": mean, "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99)}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description="Bounded ACME load generator (RFC 8555)", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = result.add_argument
    add("directory", help="directory URL")
    add("--mode", choices=MODES, default="full")
    add("--key-type", choices=("ec256", "rsa2048"), default="ec256", help="account key")
    add("--csr-key-type", choices=("ec256", "rsa2048"), help="default: as --key-type")
    add("--identifier-type", choices=("dns", "ip"), default="dns", help="ip: 127.0.x.y, answered by --http01-port")
    add("--identifiers", type=int, default=1, help="identifiers per order")
    add("--domain", default="load.example", help="suffix of the dns names")
    add("--clients", type=int, default=16, help="clients at once")
    add("--orders", type=int, default=20, help="orders (nonces, accounts) per client")
    add("--procs", type=int, default=1, help="generator processes")
    add("--warmup", type=int, default=1, help="unmeasured orders per client")
    add("--max-seconds", type=float, default=300.0, help="start nothing new after this time")
    add("--no-keepalive", dest="keepalive", action="store_false", help="a connection per request")
    add("--server-pid", type=int, action="append", default=[], help="report this process tree (repeatable)")
    add("--ca-file", help="trust this PEM file for the server's TLS")
    add("--insecure", action="store_true", help="do not check the server's TLS certificate")
    add("--allow-remote", action="store_true", help="permit a directory that is not on loopback")
    add("--contact", default="load@example.org", help="account contact, '' for none")
    add("--cn", action="store_true", help="put the first name into the CSR's subject")
    add("--challenge", default="http-01", help="challenge type to use")
    add("--eab-kid", help="external account binding: key id")
    add("--eab-hmac", help="external account binding: key, base64url")
    add("--eab-file", help="lines kid,hmac (base64url), dealt out to the clients in turn")
    add("--http01-port", type=int, default=0, help="answer http-01 on loopback at this port")
    add("--poll-interval", type=float, default=0.02, help="first wait without Retry-After, then x1.5")
    add("--retry-after-cap", type=float, default=5.0, help="wait at most this long for a Retry-After")
    add("--poll-limit", type=float, default=60.0, help="give an object up after this time")
    add("--retries", type=int, default=10, help="of one request after badNonce, 429, 503")
    add("--timeout", type=float, default=60.0, help="of one request")
    add("--label", default="", help="name of the run")
    add("--json", help="write the result here (- for stdout)")
    return result


def make_target(options: argparse.Namespace) -> Target:
    """Where to connect; refuses a server that is not on loopback."""
    parts = urlsplit(options.directory)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host, port = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0][4][:2]
    if not ipaddress.ip_address(host).is_loopback and not options.allow_remote:
        raise SystemExit(f"{host} is not a loopback address (see --allow-remote)")
    tls = ssl.create_default_context(cafile=options.ca_file) if parts.scheme == "https" else None
    if tls and options.insecure:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    names = (
        "directory keepalive challenge contact poll_interval retry_after_cap poll_limit retries timeout".split()  # noqa: SIM905 (one per option)
    )
    settings = {name: getattr(options, name) for name in names}
    bare = Target(address=(str(host), int(port)), urls={}, tls=tls, **settings)
    urls = asyncio.run(_directory(Client(bare, Stats(), {}, AccountKey("ec256")), options.directory))
    return Target(address=bare.address, urls=urls, tls=tls, **settings)


async def _directory(client: Client, url: str) -> Any:
    """The document."""
    with closing(client):
        return (await client.http("GET", url)).json()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run; returns the document for --json."""
    options.csr_key_type = options.csr_key_type or options.key_type
    options.procs = min(options.procs, options.clients)
    options.run_id = base64url(os.urandom(5)).lower().replace("_", "a").replace("-", "b")
    options.eabs = [(options.eab_kid, options.eab_hmac)] if options.eab_kid else []
    if options.eab_file:
        with Path(options.eab_file).open() as file:
            options.eabs = [(row[0].strip(), row[1].strip()) for row in csv.reader(file) if len(row) > 1]
    target = make_target(options)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(options.procs + 1)
    ends = []
    for i in range(options.procs):
        ours, theirs = context.Pipe(duplex=False)
        size = options.clients // options.procs + (i < options.clients % options.procs)
        arguments = (barrier, options, target, i, size, theirs)
        context.Process(target=guarded_worker, args=arguments, daemon=True).start()
        ends.append(ours)
    barrier.wait()  # keys and CSRs are made
    barrier.wait()  # accounts and warm-up are done
    before, busy, wall = usage(options.server_pid), busy_seconds(), time.monotonic()
    barrier.wait()
    barrier.wait()  # the measured phase is done
    wall, after, busy = time.monotonic() - wall, usage(options.server_pid), busy_seconds() - busy
    return result([end.recv() for end in ends], options, before, after, busy, wall)


def result(
    parts: list[dict[str, Any]], options: argparse.Namespace, before: Any, after: Any, busy: float, wall: float
) -> dict[str, Any]:
    """The results of all processes as one."""
    steps: dict[str, list[float]] = defaultdict(list)
    count: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    setup_errors: Counter[str] = Counter()
    details: dict[str, str] = {}
    for part in parts:
        seconds_by_step, part_count, part_errors, *_ = part["stats"]
        new_account, warm_errors = part["warm"]
        steps["setup: newAccount"] += new_account
        for step, values in seconds_by_step.items():
            steps[step] += values
        count += part_count
        errors += part_errors
        setup_errors += warm_errors
        details |= part["details"]
    done = sum(part["stats"][3] for part in parts)
    seconds = max(part["stats"][5] for part in parts) - min(part["stats"][4] for part in parts)
    generator_cpu, server_cpu = sum(part["cpu"] for part in parts), after.cpu - before.cpu

    def each(cpu: float) -> float | None:
        return round(cpu / done * 1000, 3) if done else None

    server = {
        "cpu_s": round(server_cpu, 3),
        "cores": round(server_cpu / wall, 3),
        "ms_per_order": each(server_cpu),
        "rss_mb": round(after.rss, 1),
        "rss_mb_before": round(before.rss, 1),
        "processes": after.processes,
    }
    named = ("label", "mode", "clients", "procs", "key_type", "csr_key_type", "identifiers", "keepalive")
    return {
        **{name: getattr(options, name) for name in named},
        "done": done,
        "failed": errors.total(),
        "not_started": sum(part["unstarted"] for part in parts),
        "seconds": round(seconds, 3),
        "per_s": round(done / seconds, 1),
        "requests_per_s": round(count["requests"] / seconds, 1),
        "requests_per_order": round(count["requests"] / done, 2) if done else None,
        "counts": dict(count),
        "errors": dict(errors),
        "setup_errors": dict(setup_errors),
        "error_details": details,
        "generator": {
            "cpu_s": round(generator_cpu, 3),
            "cores": round(generator_cpu / seconds, 3),
            "ms_per_order": each(generator_cpu),
            "rss_mb": round(sum(part["rss"] for part in parts), 1),
        },
        "server": server if options.server_pid else {},
        "other_cpu_cores": round(max(0.0, busy - generator_cpu - server_cpu) / wall, 3),
        "chain": parts[0]["chain"],
        "steps": {step: summary(values) for step, values in steps.items() if values},
    }


def show(found: dict[str, Any]) -> None:
    """The result for a person."""
    generator, server = found["generator"], found["server"]
    print(
        f"{found['label'] or found['mode']} clients={found['clients']}: {found['done']} done, {found['failed']} failed "
        f"in {found['seconds']:.2f} s = {found['per_s']}/s, {found['requests_per_s']} requests/s, "
        f"{found['requests_per_order']} each; generator {generator['cores']} cores, {generator['ms_per_order']} ms "
        f"each; server {server.get('cores')} cores, {server.get('ms_per_order')} ms each, {server.get('rss_mb')} MiB; "
        f"other {found['other_cpu_cores']} cores"
    )
    for step, values in found["steps"].items():
        times = "  ".join(f"{name} {values[name + '_ms']:9.3f}" for name in ("p50", "p95", "p99"))
        print(f"   {step:20} n={values['n']:<7} {times} ms")
    for kind, number in {**found["errors"], **found["setup_errors"]}.items():
        print(f"   ERROR {number} x {kind}: {found['error_details'].get(kind, '')}")


def main(arguments: list[str] | None = None) -> int:
    """Run and report; 0 if there were orders and none failed."""
    options = parser().parse_args(arguments)
    found = measure(options)
    if options.json == "-":
        print(json.dumps(found, indent=1))
    else:
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=1))
        show(found)
    return 0 if found["done"] and not found["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
