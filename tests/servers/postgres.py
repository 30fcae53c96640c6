"""A real PostgreSQL for a test run: its own cluster in a folder of its own, on a free port of 127.0.0.1.

    with running_postgres(log=journal.new_log("postgres")) as postgres:
        dsn = postgres.new_database()

Durability is as by default (fsync on). It runs as the user `postgres` when we are root, because it refuses root. Of
several major versions the newest is taken; `TEST_POSTGRES=FOLDER` names the folder with the programs of another one.
"""

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from acmehub.testing.hub_process import free_port
from tests.servers.programs import need

USER = "postgres"
START_SECONDS = 30.0
PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin")


def programs(root: Path = Path("/")) -> Path:
    """The folder with `initdb` and `postgres`: of the newest major version, where packages put them, else of PATH."""
    if given := os.environ.get("TEST_POSTGRES"):
        return Path(given)
    found = [path for place in PLACES for path in root.glob(place) if (path / "initdb").exists()]
    in_path = Path(shutil.which("initdb") or "initdb").parent
    return max(found, key=_version, default=in_path)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", folder.parent.name)))


BIN = programs()


class Postgres:
    """One cluster; `password` is that of its only user, `hub`, who may make databases and end connections."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self.password = secrets.token_hex(16)
        self.user = "hub"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make the cluster."""
        self.folder.mkdir(parents=True)
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            for path in (self.folder, password_file):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        arguments = ["-D", str(self.data), "-U", self.user, "--pwfile", str(password_file), "-A", "scram-sha-256"]
        self._run([str(BIN / "initdb"), "--no-sync", "-E", "UTF8", "--locale", "C.UTF-8", *arguments])
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(f"unix_socket_directories = '{self.folder}'\nlog_min_duration_statement = -1\n")

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.folder / "data"

    def keep_copy(self) -> None:
        """Keep the cluster as it is now, as an asynchronous replica has it that falls behind from here on.

        The server must be stopped.
        """
        self._run(["cp", "-a", str(self.data), str(self._replica)])

    def fail_over(self) -> None:
        """The primary is lost and the replica of `keep_copy` takes its place, without what was committed since."""
        self.stop(signal.SIGQUIT)
        self._run(["rm", "-r", str(self.data)])
        self._run(["mv", str(self._replica), str(self.data)])
        self.start()

    @contextmanager
    def copied(self) -> Iterator["Postgres"]:
        """A server of its own with what this one, which must be stopped, has now; deleted at the end."""
        other = Postgres(self.folder / "other", self.log)
        other.password = self.password
        self._run(["mkdir", str(other.folder)])
        self._run(["cp", "-a", str(self.data), str(other.data)])
        try:
            other.start()
            yield other
        finally:
            other.stop(signal.SIGQUIT)
            shutil.rmtree(other.folder)

    @property
    def _replica(self) -> Path:
        return self.folder / "replica"

    def start(self) -> None:
        """Start the server and wait until it answers; on the same port as before, if there was one."""
        self.port = self.port or free_port()
        options = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port)]
        with self.log.open("ab") as log:
            command = _as_postgres([str(BIN / "postgres"), "-D", str(self.data), *options])
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        ready = _as_postgres([str(BIN / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)])
        while subprocess.run(ready, check=False, cwd=self.folder).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT disconnects everybody (fast), SIGQUIT is a crash; waits for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.kill(self.postmaster, how)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    @property
    def postmaster(self) -> int:
        """The process id of the server itself."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def new_database(self, like: str = "template1") -> str:
        """A database with what the one named `like` has, which nobody may use meanwhile; else an empty one: its DSN."""
        name = f"hub_{secrets.token_hex(4)}"
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{like}"')
        return self.dsn(name)

    def dsn(self, database: str) -> str:
        """How to connect to a database."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def sql(self, text: str, database: str = "postgres") -> str:
        """Run a statement with psql, as an outsider would."""
        command = [str(BIN / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text]
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", database]
        environment = {**os.environ, "PGPASSWORD": self.password}
        done = subprocess.run([*command, *where], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr}")
        return done.stdout.strip()

    def freeze(self) -> None:
        """Have the server hang (SIGSTOP to all its processes) until `thaw`."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """End `freeze`. `runuser`, which started the server, has stopped with it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        for process in self._processes():
            os.kill(process, signal.SIGCONT)

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.postmaster}/task/{self.postmaster}/children").read_text().split()
        return [self.postmaster, *map(int, children)]

    def end_connections(self, database: str) -> None:
        """Kill every backend that serves a database."""
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(_as_postgres(command), capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]}: {done.stderr}")


def _as_postgres(command: Sequence[str]) -> list[str]:
    return ["runuser", "-u", USER, "--", *command] if os.geteuid() == 0 else list(command)


@contextmanager
def running_postgres(*, log: Path) -> Iterator[Postgres]:
    """A new cluster, started; stopped and deleted at the end. Not in pytest's folders: those are closed to others."""
    need(BIN / "initdb", BIN / "postgres", BIN / "psql", *(["runuser"] if os.geteuid() == 0 else []))
    folder = Path("/tmp") / f"acmehub-postgres-{secrets.token_hex(4)}"
    server = Postgres(folder, log)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
