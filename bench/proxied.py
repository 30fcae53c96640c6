"""make bench-proxied: what a proxied order costs. Clients -> hub -> Pebble, dns-01 written to BIND by RFC 2136.

The hub: one process, SQLite with synchronous=FULL, `ca_acme`, mode `preapproved`, TLS with keep-alive; it does not wait
for propagation. Pebble validates nothing, so BIND is only written to. Everything is on loopback.
A row per number of clients, medians over the rounds:

    CPU         the hub's milliseconds per order while the clients are at work
    with rest   the same until the last TXT record is gone, accounts and first orders included
    orders/s, p50, p99    whole orders in milliseconds, newOrder to certificate, as the clients see them
    over        p50 less that of the same clients at Pebble itself
    MiB         resident memory of the hub afterwards
    lost        orders that did not end in a certificate
    extra       certificates that Pebble signed beyond one per order
    TXT         TXT records that are still in the zone after 30 seconds

`--base TREE` measures the hub of another clone, which has its own .venv, in turn with this one, and prints the ratios
of this one to it: the median of the rounds, and the lowest and highest. On a shared machine these alone say something.
`--kills N` then kills this hub N times while it has TXT records in DNS (bench/kills.py).
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from acmehub.testing.hub_process import HubProcess
from bench import acme_load
from bench.compare import CONFIG, ROOT, as_server, machine
from bench.kills import Kill, kill_rounds
from bench.machine import usage
from bench.named import KEY_NAME, ZONE, Named, running_named
from bench.pebble import Pebble, Server, running_pebble

OURS, BASE = "this tree", "base"
TXT_SECONDS = 30.0
DNS = """
[dns]
resolvers = ["127.0.0.1:{port}"]
port = {port}
"""
RESOURCES = """
[[authority]]
name = "pebble"
plugin = "ca_acme"
default = true
settings = {{ directory = "{directory}", ca_file = "{ca_file}", email = "ops@{zone}" }}

[[managed_challenge]]
name = "load zone"
plugin = "dns_rfc2136"
match = "*.{zone}"
propagation = {{ mode = "none" }}
settings = {{ server = "127.0.0.1", port = {port}, key_name = "{key_name}", key_secret = "{secret}" }}

[[principal]]
name = "load"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "load"
principal = "load"
scope = ["managed_acme_consumer"]
names = "*.{zone}"
authorization = "preapproved"
"""


class Figures(NamedTuple):
    """One measurement, or medians over rounds: a row of the table, in milliseconds, MiB and numbers."""

    cpu: float
    with_rest: float
    per_s: float
    p50: float
    p99: float
    over: float
    mib: float
    lost: float
    extra: float
    txt: float

    @property
    def flawless(self) -> bool:
        """Nothing lost, nothing signed twice, nothing left in DNS."""
        return not (self.lost or self.extra or self.txt)


HEAD = ("CPU", "with rest", "orders/s", "p50", "p99", "over", "MiB", "lost", "extra", "TXT")
RATIOS = ("cpu", "with_rest", "per_s", "p50", "mib")


class Lab(NamedTuple):
    """What stands behind every hub."""

    pebble: Pebble
    named: Named


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; 0 if every order ended in one certificate and no TXT record is left."""
    options = _options(arguments)
    found: dict[int, dict[str, list[Figures]]] = {number: {} for number in options.clients}
    kills: Sequence[Kill] = ()
    with tempfile.TemporaryDirectory(prefix="acmehub-bench-") as name, ExitStack() as running:
        folder = Path(name)
        lab = _lab(folder, running)
        hubs = {OURS: running.enter_context(_hub(folder / "hub", lab, None))}
        if options.base:
            hubs[BASE] = running.enter_context(_hub(folder / "base", lab, options.base / ".venv" / "bin" / "acmehub"))
        servers = {label: as_server(hub)._replace(label=label) for label, hub in hubs.items()}
        for number in range(options.rounds):
            for clients in options.clients:
                direct = _direct(lab, clients, options.orders) if options.direct else 0.0
                for label in sorted(servers, reverse=bool(number % 2)):
                    figures = measure(lab, servers[label], clients, options.orders, direct)
                    found[clients].setdefault(label, []).append(figures)
                    print(row(f"{label}, {clients} clients", figures), flush=True)
        if options.kills:
            kills = kill_rounds(hubs[OURS], lab.pebble, lab.named, options.kills)
    medians = {label: {clients: median(rows[label]) for clients, rows in found.items()} for label in servers}
    _show(medians, found, kills)
    document = {
        "machine": machine(),
        "medians": {label: {n: item._asdict() for n, item in rows.items()} for label, rows in medians.items()},
        "ratios": {clients: ratios(rows[OURS], rows[BASE]) for clients, rows in found.items() if BASE in rows},
        "kills": [kill._asdict() for kill in kills],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1))
    print(f"written to {options.json}")
    own = (figures for rows in found.values() for figures in rows.get(OURS, ()))
    return 0 if all(item.flawless for item in own) and all(kill.flawless for kill in kills) else 1


def measure(lab: Lab, server: Server, clients: int, orders: int, direct: float) -> Figures:
    """One run of the load on a hub, until its TXT records are gone; `direct`: the p50 at Pebble itself."""
    minted, cpu = lab.pebble.minted(), usage([server.pid]).cpu
    count, run = _load(server, clients, orders)
    left = lab.named.txt_left(TXT_SECONDS)
    every = count + clients  # each client's first order is not measured
    after = usage([server.pid])
    took = run["steps"]["= whole full"] if run["done"] else dict.fromkeys(("p50_ms", "p99_ms"), float("nan"))
    return Figures(
        cpu=run["server"]["ms_per_order"] or float("nan"),
        with_rest=(after.cpu - cpu) / every * 1000,
        per_s=run["per_s"],
        p50=took["p50_ms"],
        p99=took["p99_ms"],
        over=took["p50_ms"] - direct,
        mib=after.rss,
        lost=count - run["done"],
        extra=lab.pebble.minted() - minted - every,
        txt=left,
    )


def median(rows: Sequence[Figures]) -> Figures:
    """Medians over the rounds; of what must be nothing, the worst."""
    fields = zip(*rows, strict=True)
    worst = {"lost", "extra", "txt"}
    return Figures(
        *(
            max(values, key=abs) if name in worst else statistics.median(values)
            for name, values in zip(Figures._fields, fields, strict=True)
        )
    )


def ratios(ours: Sequence[Figures], base: Sequence[Figures]) -> dict[str, tuple[float, float, float]]:
    """Ratios of the rounds, ours to those of the base: median, lowest, highest."""
    found = {}
    for name in RATIOS:
        each = [getattr(a, name) / getattr(b, name) for a, b in zip(ours, base, strict=True)]
        found[name] = (statistics.median(each), min(each), max(each))
    return found


def row(label: str, figures: Figures) -> str:
    """A line of the table."""
    *measured, lost, extra, txt = figures
    return f"{label:24}" + "".join(f"{value:10.1f}" for value in measured) + f"{lost:6.0f}{extra:6.0f}{txt:6.0f}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--orders", type=int, default=320, help="orders per measurement; an eighth with one client")
    parser.add_argument("--no-direct", dest="direct", action="store_false", help="do not measure Pebble itself")
    parser.add_argument("--base", type=Path, metavar="TREE", help="a clone with its own .venv to measure in turn")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="then kill the hub N times")
    parser.add_argument("--json", type=Path, default=ROOT / ".run" / "bench-proxied.json")
    return parser.parse_args(arguments)


def _lab(folder: Path, running: ExitStack) -> Lab:
    (folder / "pebble").mkdir()
    (folder / "named").mkdir()
    return Lab(
        running.enter_context(running_pebble(folder / "pebble")),
        running.enter_context(running_named(folder / "named")),
    )


def _hub(folder: Path, lab: Lab, program: Path | None) -> HubProcess:
    hub = HubProcess(folder, config=CONFIG + DNS.format(port=lab.named.port), program=program)
    resources = RESOURCES.format(
        directory=lab.pebble.server.directory,
        ca_file=lab.pebble.ca_file,
        zone=ZONE,
        port=lab.named.port,
        key_name=KEY_NAME,
        secret=lab.named.secret,
    )
    hub.apply(resources)
    return hub


def _direct(lab: Lab, clients: int, orders: int) -> float:
    """The p50 of the same clients at Pebble itself, in milliseconds."""
    _, run = _load(lab.pebble.server, clients, orders)
    if run["failed"]:
        raise SystemExit(f"Pebble itself failed: {run['errors']} {run['error_details']}")
    return float(run["steps"]["= whole full"]["p50_ms"])


def _load(server: Server, clients: int, orders: int) -> tuple[int, dict[str, Any]]:
    """How many orders were measured, and what the generator found."""
    each = max(orders // clients, 1) if clients > 1 else max(orders // 8, 1)
    parsed = acme_load.parser().parse_args(
        [
            *(server.directory, "--insecure", "--label", server.label, "--server-pid", str(server.pid)),
            *("--clients", str(clients), "--orders", str(each), "--domain", ZONE, "--challenge", "dns-01"),
            *("--poll-limit", "120", "--timeout", "120", *server.arguments),
        ]
    )
    found = acme_load.measure(parsed)
    if found["failed"] or found["setup_errors"]:
        acme_load.show(found)
    return each * clients, found


def _show(
    medians: dict[str, dict[int, Figures]], found: dict[int, dict[str, list[Figures]]], kills: Sequence[Kill]
) -> None:
    print(f"\n{machine()}\n{'':24}" + "".join(f"{name:>10}" for name in HEAD[:7]) + "  lost extra   TXT")
    for label, rows in medians.items():
        for clients, figures in rows.items():
            print(row(f"{label}, {clients} clients", figures))
    for clients, rounds in found.items():
        if BASE in rounds:
            each = ratios(rounds[OURS], rounds[BASE]).items()
            text = "  ".join(f"{name} {middle:.2f} ({low:.2f}-{high:.2f})" for name, (middle, low, high) in each)
            print(f"ratio to base, {clients} clients: {text}")
    if kills:
        slowest = max(kill.slowest for kill in kills)
        print(
            f"{len(kills)} kills, {sum(kill.txt > 0 for kill in kills)} of them with TXT records in DNS: "
            f"{sum(kill.lost for kill in kills)} lost, {sum(kill.extra for kill in kills)} extra, "
            f"{sum(kill.left for kill in kills)} TXT left, slowest order {slowest:.1f} s"
        )


if __name__ == "__main__":
    sys.exit(main())
