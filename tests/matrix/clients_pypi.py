"""Clients from PyPI: the current certbot, which `make test` keeps in .run/certbot."""

from scripts.certbot import FROM_PYPI
from tests.matrix import certbot, ways
from tests.matrix.contract import Client, Way, said
from tests.matrix.device import Device


def missing() -> str:
    return "" if FROM_PYPI.exists() else "make .run/certbot/bin/certbot"


def version() -> str:
    return said(str(FROM_PYPI), "--version")


def with_profile(device: Device) -> None:
    """`--required-profile`."""
    chain = certbot.issue(FROM_PYPI, options=f"--required-profile {device.profile}")(device, (device.name,))
    device.got(chain)
    device.profiled()


WAYS = [
    *certbot.basic_ways(FROM_PYPI),
    Way("profile", with_profile),
    Way("ARI renewal", ways.ari_renewal(certbot.issue(FROM_PYPI), certbot.renew(FROM_PYPI, options=""))),
]

CLIENTS = [
    Client("certbot", "PyPI", version, missing, WAYS),
]
