"""Clients from crates.io: small programs around instant-acme and rustls-acme, built by cargo into .run/matrix/rust."""

import re

from tests.matrix import ways
from tests.matrix.contract import Client, Way
from tests.matrix.mains import BUILT, HERE, Main, build, missing

RUST = HERE / "rust"
TARGET = BUILT / "rust"


def program(crate: str) -> Main:
    """A program of rust/."""
    return Main((str(TARGET / "debug" / f"matrix-{crate}"),), dash="--")


def _client(crate: str, its_ways: list[Way]) -> Client:
    package = f"matrix-{crate}"
    return Client(
        crate,
        "crate",
        version=lambda: _pinned(crate),
        missing=lambda: missing(
            TARGET / "debug" / package, RUST / crate / "src", "cargo", "install Rust 1.85 or newer"
        ),
        ways=its_ways,
        build=lambda: build(RUST, "cargo", "build", "--locked", "-j", "1", "-p", package, CARGO_TARGET_DIR=str(TARGET)),
    )


def _pinned(crate: str) -> str:
    found = re.search(rf'name = "{re.escape(crate)}"\nversion = "([^"]+)"', (RUST / "Cargo.lock").read_text())
    return found[1] if found else ""


INSTANT = program("instant-acme")
RUSTLS = program("rustls-acme")

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
            Way("no EAB", ways.one_name(RUSTLS.issue(eab=False))),
            Way("two names", ways.two_names(RUSTLS.issue(eab=False))),
            Way("wildcard", ways.wildcard(RUSTLS.issue(eab=False))),
        ],
    ),
]
