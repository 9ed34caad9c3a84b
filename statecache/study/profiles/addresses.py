"""Where a server is by its URL, and the URL of the same server behind a relay."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from statecache.study.profiles.profile import ProfileError
from statecache.study.relay_process import LOOPBACK

__all__ = ["cache_address", "database_address", "database_url_behind"]


def database_address(url: str) -> tuple[str, int]:
    """Return host and port; raises ``ProfileError`` unless it is one server's, over TCP."""
    parts = conninfo_to_dict(url)
    host = str(parts.get("hostaddr") or parts.get("host") or "")
    port = str(parts.get("port") or 5432)
    if not host or host.startswith(("/", "@")) or "," in host + port:
        raise _not_one_server("DATABASE_URL", "postgresql://user:password@host:port/database")
    return host, int(port)


def cache_address(url: str) -> tuple[str, int]:
    """Return host and port; raises ``ProfileError`` unless it is one server's, over TCP."""
    parts = redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    if "path" in parts:
        raise _not_one_server("REDIS_URL", "redis://:password@host:port/0")
    return str(parts.get("host") or "localhost"), int(parts.get("port") or 6379)


def database_url_behind(url: str, port: int) -> str:
    """Return the URL of the same server behind a relay at that port of loopback.

    A host other than loopback stays in it and only its address is given beside it, since it is the
    host's name that a certificate and a password file are looked up by.
    """
    if "://" not in url:
        return make_conninfo(url, hostaddr=LOOPBACK, port=port)
    parts = urlsplit(url)
    host = str(conninfo_to_dict(url).get("host") or LOOPBACK)
    replaced = ("host", "hostaddr", "port")
    options = [
        pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in replaced
    ]
    if host != LOOPBACK:
        options.append(("hostaddr", LOOPBACK))
    credentials, at, _place = parts.netloc.rpartition("@")
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    return parts._replace(
        netloc=f"{credentials}{at}{place}:{port}", query=urlencode(options, quote_via=quote)
    ).geturl()


def _not_one_server(name: str, example: str) -> ProfileError:
    return ProfileError(
        f"A deployment profile needs one server at a TCP address, and {name} gives something "
        f"else: give {example}, or take the profile loopback."
    )
