"""A real pgbouncer before a PostgreSQL of the tests.

with running_pgbouncer(postgres, mode="transaction", folder=tmp_path) as bouncer:
    dsn = bouncer.dsn(database)
"""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acmehub.testing.hub_process import free_port
from tests.servers.postgres import USER, Postgres

PROGRAM = "/usr/sbin/pgbouncer"
_START_SECONDS = 15.0


class PgBouncer:
    """A pooler on `port`, with the user and password of the server behind it."""

    def __init__(self, postgres: Postgres, port: int) -> None:
        self._postgres = postgres
        self._port = port

    def dsn(self, database: str) -> str:
        """How to connect to a database through it."""
        return f"postgresql://{self._postgres.user}:{self._postgres.password}@127.0.0.1:{self._port}/{database}"


@contextmanager
def running_pgbouncer(postgres: Postgres, *, mode: str, folder: Path, pool: int = 20) -> Iterator[PgBouncer]:
    """A pooler that is stopped at the end; `pool` server connections for each database, settings as Debian has them."""
    port = free_port()
    home = postgres.folder / f"pgbouncer-{port}"  # pytest's folders are closed to the user that it runs as
    home.mkdir()
    (home / "users.txt").write_text(f'"{postgres.user}" "{postgres.password}"\n')
    (home / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={postgres.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = {mode}\n"
        f"auth_type = scram-sha-256\nauth_file = {home / 'users.txt'}\ndefault_pool_size = {pool}\n"
    )
    command = [PROGRAM, str(home / "pgbouncer.ini")]
    if os.geteuid() == 0:
        owner = pwd.getpwnam(USER)
        for path in (home, *home.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        command = ["runuser", "-u", USER, "--", *command]
    with (folder / f"pgbouncer-{port}.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=home)
    try:
        _wait_for(port, process)
        yield PgBouncer(postgres, port)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("pgbouncer did not start") from None
            time.sleep(0.02)
        else:
            return
