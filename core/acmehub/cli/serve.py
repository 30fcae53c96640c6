"""`acmehub serve` and `acmehub worker`."""

import functools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from acmehub import __version__
from acmehub.cli.shared.exit_status import Failed
from acmehub.cli.shared.finding import no_hub
from acmehub.cli.shared.session import config_options, configured
from acmehub.cli.shared.terminal import say
from acmehub.config import FILE_NAME, log_of
from acmehub.runtime.crash_points import CrashPoints
from acmehub.serving.logs import log_crashes, set_up_logs

SERVE_EPILOG = """\b
Examples:
  acmehub serve
  acmehub serve --listen 0.0.0.0:443 --public-url https://hub.example.com
  acmehub serve --no-worker          with `acmehub worker` beside it
"""
CRASH_POINTS = "ACMEHUB_CRASH_POINTS"
_log = logging.getLogger("acmehub")


def begin_log(arguments: Sequence[str]) -> Callable[..., None]:
    """Have `serve` and `worker` say everything in the log from here on, in the form that their configuration asks for
    as far as it can be made out; `arguments` are the command's. The function that tells an error of the command line.
    """
    named = os.environ.get("ACMEHUB_CONFIG", "")
    for index, argument in enumerate(arguments):
        if argument == "--config":
            named = "".join(arguments[index + 1 : index + 2])
        elif argument.startswith("--config="):
            named = argument.removeprefix("--config=")
    set_up_logs(log_of(Path(named or FILE_NAME), os.environ))
    log_crashes()

    def tell(*lines: str) -> None:
        for line in lines:
            _log.error("%s", line.strip())

    return tell


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

    with configured(config_file, warn=_log.warning, data_dir=data_dir, listen=listen, public_url=public_url) as config:
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
    with configured(config_file, warn=_log.warning, data_dir=data_dir) as config:
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
