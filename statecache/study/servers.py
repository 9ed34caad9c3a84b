"""The PostgreSQL and the Redis a study runs against: the caller's, or embedded ones.

``running_servers`` takes DATABASE_URL and REDIS_URL where both are set. Otherwise it starts
PostgreSQL and Valkey from their wheels (``_embedded``), stopped and removed however it ends.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict
from redis.backoff import NoBackoff
from redis.retry import Retry

from statecache.study._embedded import embedded_servers
from statecache.study.connections import LimitedConnection
from statecache.study.errors import ServersError

__all__ = [
    "Servers",
    "ServersError",
    "describe",
    "open_database",
    "open_redis",
    "running_servers",
]

Database: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

CONNECT_TIMEOUT_S = 5
#: How long Redis may take to answer; PostgreSQL's limit stands in ``connections``.
REDIS_TIMEOUT_S = 10.0

#: Tells a child process that the servers in its environment are embedded ones, which may be pinned
#: and whose processes can be seen. It holds a digest of their addresses, so that it says nothing of
#: others that take their place.
EMBEDDED = "STATECACHE_EMBEDDED_SERVERS"

#: What of PostgreSQL's settings a reader needs in order to judge a figure.
_POSTGRES_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "jit",
    "max_connections",
)
_REDIS_SETTINGS = ("maxmemory", "maxmemory-policy", "appendonly", "save")


@dataclass(frozen=True, slots=True, repr=False)
class Servers:
    """Where the study's servers are; the URLs hold passwords, ``repr`` does not."""

    database_url: str
    redis_url: str
    embedded: bool

    def __repr__(self) -> str:
        kind = "embedded" if self.embedded else "external"
        database = _place(_postgres_address, self.database_url)
        return f"<Servers {kind}, {database}, {_place(_redis_address, self.redis_url)}>"

    def environment(self) -> dict[str, str]:
        """Return the variables that lead a child process to the same servers."""
        urls = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        return urls | {EMBEDDED: _digest(urls) if self.embedded else ""}


@contextmanager
def running_servers(environ: Mapping[str, str] | None = None) -> Iterator[Servers]:
    """Yield servers that answer, from DATABASE_URL and REDIS_URL or embedded ones.

    Embedded servers are stopped and their data removed at the end. ``environ`` is ``os.environ``
    by default. Raises ``ServersError`` where only one URL is set, where a server does not answer,
    or where the embedded ones cannot be started.
    """
    environ = os.environ if environ is None else environ
    urls = {name: environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}
    missing = [name for name, url in urls.items() if not url]
    if len(missing) == 1:
        (present,) = urls.keys() - missing
        raise ServersError(
            f"{present} is set but {missing[0]} is not: set both to use servers of your own, "
            "or neither for embedded ones."
        )
    if not missing:
        embedded = environ.get(EMBEDDED) == _digest(urls)
        servers = Servers(urls["DATABASE_URL"], urls["REDIS_URL"], embedded=embedded)
        _check_answers(servers)
        yield servers
    else:
        with embedded_servers() as started:
            servers = Servers(started["database_url"], started["redis_url"], embedded=True)
            _check_answers(servers)
            with open_database(servers) as database:
                database.execute("CREATE EXTENSION pg_stat_statements")
            yield servers


def open_database(servers: Servers) -> Database:
    """Return a new autocommit connection; raises ``ServersError`` where there is no answer.

    Nor does it wait for ever later: see ``connections``.
    """
    name = "PostgreSQL" if servers.embedded else "DATABASE_URL"
    address = _postgres_address(servers.database_url)
    try:
        return LimitedConnection.connect(
            servers.database_url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="statecache study",
        )
    except psycopg.Error as error:
        # Not chained: the driver quotes what it misread, which may be a piece of the password.
        reason = _reason(error, conninfo_to_dict(servers.database_url).get("password"))
    raise ServersError(f"{name} at {address} does not answer: {reason}.")


def open_redis(servers: Servers) -> redis.Redis:
    """Return a new client that has got an answer; raises ``ServersError`` where there is none.

    It never tries a command again.
    """
    name = "Redis" if servers.embedded else "REDIS_URL"
    address = _redis_address(servers.redis_url)
    client = redis.Redis.from_url(
        servers.redis_url,
        protocol=2,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
    try:
        client.ping()
    except redis.RedisError as error:
        reason = _reason(error, client.connection_pool.connection_kwargs.get("password"))
        client.close()
    else:
        return client
    raise ServersError(f"{name} at {address} does not answer: {reason}.")


def describe(servers: Servers) -> dict[str, Any]:
    """Return what a report says of the servers: versions, settings, where they are; no secrets.

    A setting that the server does not show is ``None``. Raises ``ServersError``.
    """
    with open_database(servers) as database:
        # The view leaves out what the role may not read.
        query = "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)"
        names = [*_POSTGRES_SETTINGS, "data_directory"]
        found: dict[str, str] = dict(database.execute(query, [names]).fetchall())
        postgresql: dict[str, Any] = {
            "name": "PostgreSQL",
            "version": database.info.parameter_status("server_version"),
            "host": _host_kind(database.info.hostaddr or database.info.host),
            "data_file_system": _file_system(found.get("data_directory"), servers.embedded),
            **{name: found.get(name) for name in _POSTGRES_SETTINGS},
        }
    with open_redis(servers) as client:
        info = client.info("server")
        settings: dict[str, str] = {}
        with suppress(redis.ResponseError):  # hosted servers often forbid CONFIG
            settings = client.config_get(*_REDIS_SETTINGS)
        is_valkey = info.get("server_name") == "valkey"
        where = client.connection_pool.connection_kwargs
    cache = {
        "name": "Valkey" if is_valkey else "Redis",
        "version": info["valkey_version" if is_valkey else "redis_version"],
        "redis_version": info["redis_version"],
        "host": _host_kind(where.get("path") or where.get("host")),
        **{name: settings.get(name) for name in _REDIS_SETTINGS},
    }
    return {"embedded": servers.embedded, "postgresql": postgresql, "redis": cache}


def _digest(urls: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(urls.items())).encode()).hexdigest()


def _check_answers(servers: Servers) -> None:
    open_database(servers).close()
    open_redis(servers).close()


def _postgres_address(url: str) -> str:
    """Return host and port; raises ``ServersError`` where the URL is none."""
    with suppress(psycopg.ProgrammingError):
        parts = conninfo_to_dict(url)
        host, port = str(parts.get("host") or "local socket"), str(parts.get("port") or 5432)
        misread = "@" in host + str(parts.get("dbname")) or not re.fullmatch(r"[\d,]*", port)
        if not misread:
            return f"{host}:{port}"
    raise ServersError(
        "DATABASE_URL is not an address that PostgreSQL understands: give "
        "postgresql://user:password@host:port/database, special characters percent-encoded."
    )


def _redis_address(url: str) -> str:
    """Return host and port; raises ``ServersError`` where the URL is none."""
    with suppress(ValueError):
        parts = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
        if "@" not in str(parts.get("host")):
            return str(parts.get("path") or f"{parts.get('host')}:{parts.get('port', 6379)}")
    raise ServersError(
        "REDIS_URL is not an address of a single Redis server: give "
        "redis://:password@host:port/0, special characters percent-encoded."
    )


def _place(address: Any, url: str) -> str:
    try:
        return str(address(url))
    except ServersError:
        return "an address that is not understood"


def _reason(error: Exception, password: object) -> str:
    """Return the last line of what the driver said, without the password."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    line = next((line for line in text if "failed" in line or "rror" in line), text[0]).strip(" .")
    line = re.sub(r"^connection failed: connection to server at .*? failed: ", "", line)
    return line.replace(str(password), "***") if password else line


def _host_kind(host: str | None) -> str:
    """Return "loopback", "unix socket" or "remote"."""
    if not host or host.startswith("/"):
        return "unix socket"
    with suppress(OSError, ValueError):
        if ipaddress.ip_address(
            socket.gethostbyname(host) if ":" not in host else host
        ).is_loopback:
            return "loopback"
    return "remote"


def _file_system(folder: str | None, embedded: bool) -> str | None:
    """Return the type of file system below ``folder``: on tmpfs fsync costs nothing."""
    if folder is None or not embedded:
        return None
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    path = Path(folder).resolve()
    return next((mounts[str(p)] for p in [path, *path.parents] if str(p) in mounts), None)
