"""`acmehub serve` and `acmehub worker`."""

import functools
import os
from pathlib import Path

import click

from acmehub import __version__
from acmehub.cli.shared.exit_status import Failed
from acmehub.cli.shared.finding import no_hub
from acmehub.cli.shared.session import config_options, configured
from acmehub.cli.shared.terminal import say
from acmehub.runtime.crash_points import CrashPoints
from acmehub.serving.logs import set_up_logs

SERVE_EPILOG = """\b
Examples:
  acmehub serve
  acmehub serve --listen 0.0.0.0:443 --public-url https://hub.example.com
  acmehub serve --no-worker          with `acmehub worker` beside it
"""
CRASH_POINTS = "ACMEHUB_CRASH_POINTS"


@click.command(epilog=SERVE_EPILOG)
@config_options
@click.option("--listen", metavar="HOST:PORT", help="Where to listen  [default: 127.0.0.1:8443]")
@click.option("--public-url", metavar="URL", help="What clients see, without a path  [default: from --listen]")
@click.option("--worker/--no-worker", default=True, help="Fulfil orders in this process.  [default: yes]")
@click.option("--migrate/--no-migrate", default=True, help="Bring the storage up to date first.  [default: yes]")
def serve(
    config_file: Path | None,
    data_dir: Path | None,
    listen: str | None,
    public_url: str | None,
    worker: bool,
    migrate: bool,
) -> None:
    """Serve ACME, and fulfil orders.

    Without any configuration it keeps SQLite, a master key and a private CA in ./data, and signs certificates with
    that CA. SIGTERM and SIGINT end it cleanly; SIGHUP loads [tls] files again.
    """
    from acmehub.serving.server import run_serve  # Litestar and uvicorn, which --help need not wait for
    from acmehub.serving.sockets import ListenError

    with configured(config_file, data_dir=data_dir, listen=listen, public_url=public_url) as config:
        set_up_logs(config.log)
        try:
            run_serve(config, worker=worker, migrate=migrate, crash_points=_crash_points(), announce=_announce)
        except ListenError as error:
            raise Failed(str(error)) from None


@click.command(epilog="\b\nExample:\n  acmehub worker --config /etc/acmehub.toml")
@config_options
@click.option("--migrate/--no-migrate", default=True, help="Bring the storage up to date first.  [default: yes]")
def worker(config_file: Path | None, data_dir: Path | None, migrate: bool) -> None:
    """Fulfil orders, beside `acmehub serve --no-worker` or further workers.

    It founds no hub: on a shared storage it waits until `acmehub serve` has done so, else it ends.
    """
    from acmehub.ports.store import StoreAbsent
    from acmehub.serving.server import run_worker  # as above

    announce = functools.partial(say, "acmehub worker is ready")
    with configured(config_file, data_dir=data_dir) as config:
        set_up_logs(config.log)
        try:
            run_worker(config, migrate=migrate, crash_points=_crash_points(), announce=announce)
        except StoreAbsent as absent:
            raise no_hub(config, str(absent), os.environ, Path.cwd()) from None


def _crash_points() -> CrashPoints:
    try:
        return CrashPoints.parse(os.environ.get(CRASH_POINTS, ""))
    except ValueError as error:
        raise Failed(f"{CRASH_POINTS}: {error}") from None


def _announce(url: str, root_file: str) -> None:
    say(f"acmehub {__version__} serves {url}/acme/directory")
    if root_file:
        say(f"its certificate is signed by its own CA; clients must trust {root_file}")
