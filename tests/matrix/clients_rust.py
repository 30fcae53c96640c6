"""Clients from crates.io: small programs around instant-acme, rustls-acme, acme2 and acme2-eab, built by cargo into
.run/matrix/rust."""

import re

from tests.matrix import ways
from tests.matrix.contract import Client, Limit, Way
from tests.matrix.mains import BUILT, HERE, Main, build, missing

RUST = HERE / "rust"
TARGET = BUILT / "rust"


def program(crate: str, *, eab: bool = True) -> Main:
    """A program of rust/."""
    return Main((str(TARGET / "debug" / f"matrix-{crate}"),), dash="--", eab=eab)


def acme2_ways(program: Main, first: str) -> list[Way]:
    """The ways of acme2 and of its fork, which wait as their README does."""
    limit = Limit(
        60,
        "it waits as long as its caller says: for three polls in its README",
        "order.wait_done(Duration::from_secs(5), 60)",
        ways.one_name(program.issue(timeout=300)),
    )
    return [
        Way(first, ways.one_name(program.issue()), limit),
        Way("two names", ways.two_names(program.issue()), limit),
        Way("wildcard", ways.wildcard(program.issue()), limit),
        Way("renewal", ways.renewal(program.issue(), program.renew()), limit),
    ]


def _client(crate: str, its_ways: list[Way], sources: str = "") -> Client:
    package = f"matrix-{crate}"
    return Client(
        crate,
        "crate",
        version=lambda: _pinned(crate),
        missing=lambda: missing(
            TARGET / "debug" / package, RUST / (sources or crate) / "src", "cargo", "install Rust 1.85 or newer"
        ),
        ways=its_ways,
        build=lambda: build(RUST, "cargo", "build", "--locked", "-j", "1", "-p", package, CARGO_TARGET_DIR=str(TARGET)),
    )


def _pinned(crate: str) -> str:
    found = re.search(rf'name = "{re.escape(crate)}"\nversion = "([^"]+)"', (RUST / "Cargo.lock").read_text())
    return found[1] if found else ""


INSTANT = program("instant-acme")
RUSTLS = program("rustls-acme", eab=False)
ACME2 = program("acme2", eab=False)
ACME2_EAB = program("acme2-eab")

CLIENTS = [
    _client(
        "instant-acme",
        [
            Way("library", ways.two_names(INSTANT.issue())),
            Way("wildcard", ways.wildcard(INSTANT.issue())),
            Way("no EAB", ways.one_name(INSTANT.issue(eab=False))),
            Way("profile", INSTANT.with_profile),
            Way("renewal", ways.renewal(INSTANT.issue(), INSTANT.renew())),
            Way("ARI renewal", ways.ari_renewal(INSTANT.issue(), INSTANT.renew("ari"))),
            Way("revocation", ways.revocation(INSTANT.issue(), INSTANT.revoke)),
            Way("key roll-over", ways.roll_over(INSTANT.issue(), INSTANT.roll, INSTANT.renew())),
        ],
    ),
    _client(
        "rustls-acme",
        [
            Way("no EAB", ways.one_name(RUSTLS.issue())),
            Way("two names", ways.two_names(RUSTLS.issue())),
            Way("wildcard", ways.wildcard(RUSTLS.issue())),
        ],
    ),
    _client("acme2", acme2_ways(ACME2, "no EAB")),
    _client(
        "acme2-eab",
        [*acme2_ways(ACME2_EAB, "library"), Way("no EAB", ways.one_name(ACME2_EAB.issue(eab=False)))],
        sources="acme2",
    ),
]
