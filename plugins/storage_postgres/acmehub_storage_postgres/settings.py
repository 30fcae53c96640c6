"""Where the database is, and how it is used."""

from typing import Annotated, Any, Self
from urllib.parse import parse_qs, urlsplit

from msgspec import Meta

from acmehub import PluginSettings, Secret


class Settings(PluginSettings, frozen=True, kw_only=True):
    """Either `dsn`, or the parts; what neither says comes from the environment (`PGHOST` …) as libpq has it."""

    dsn: Annotated[
        Secret,
        Meta(
            description="postgresql://user:password@host:port/database; for failover with several hosts and"
            " target_session_attrs"
        ),
    ] = Secret("")
    host: Annotated[str, Meta(description="the server, when there is no dsn")] = ""
    port: Annotated[int, Meta(description="its port")] = 5432
    database: Annotated[str, Meta(description="the database there")] = ""
    user: Annotated[str, Meta(description="the role that connects")] = ""
    password: Annotated[Secret, Meta(description="its password")] = Secret("")
    connections: Annotated[int, Meta(description="most connections of a process, besides one that listens")] = 10
    timeout: Annotated[float, Meta(description="of connecting and of each statement, in seconds")] = 30.0
    wait: Annotated[float, Meta(description="how long a request waits for a database that is away, in seconds")] = 5.0

    def validate(self) -> Self:
        if self.dsn and self.host:
            raise ValueError("dsn and host: give one of them")
        if self.dsn and not self.dsn.reveal().startswith(("postgresql://", "postgres://")):
            raise ValueError("dsn: must begin with postgresql://")
        if self.connections < 1:
            raise ValueError("connections: at least 1")
        if self.timeout <= 0:
            raise ValueError("timeout: more than 0 seconds")
        if self.wait < 0:
            raise ValueError("wait: 0 seconds or more")
        return self

    @property
    def place(self) -> str:
        """Host, port and database, for messages: never user or password."""
        if not self.dsn:
            return f"{self.host or 'localhost'}:{self.port}/{self.database}"
        parts = urlsplit(self.dsn.reveal())
        hosts = parts.netloc.rpartition("@")[2] or ",".join(parse_qs(parts.query).get("host", ["localhost"]))
        return f"{hosts}{parts.path}"

    def connect_arguments(self) -> dict[str, Any]:
        """What `asyncpg.connect` is given: **the password in clear**."""
        given: dict[str, Any] = {
            "timeout": self.timeout,
            "command_timeout": self.timeout,
            "statement_cache_size": 512,
            "server_settings": {"application_name": "acmehub"},
        }
        if self.dsn:
            return {**given, "dsn": self.dsn.reveal()}
        parts = {"host": self.host, "database": self.database, "user": self.user, "password": self.password.reveal()}
        given.update({name: value for name, value in parts.items() if value})
        return {**given, "port": self.port} if self.host else given
