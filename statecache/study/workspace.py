"""What a study may touch on the servers: its own schemas and its own keys, nothing else.

Names carry a random token, so that studies that share servers never meet; what already stands
under a name is never taken over, and what is removed at the end is what was made here.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
from psycopg import sql

from statecache.errors import StateCacheError, first_line
from statecache.study.errors import WorkspaceError
from statecache.study.servers import Database, Servers, open_database, open_redis

__all__ = [
    "TOKEN",
    "Workspace",
    "WorkspaceError",
    "clean_up",
    "new_token",
    "open_workspace",
    "unlink_keys",
]

#: The variable in which a parent names the token, so that it can clean up after a killed child.
TOKEN = "STATECACHE_STUDY_TOKEN"  # noqa: S105 - a name, not a secret

#: Bytes that PostgreSQL keeps of an identifier; it cuts longer ones off without an error.
IDENTIFIER_BYTES = 63
SCAN_BATCH = 1000
#: How long a schema's removal waits for a client that still holds a lock there.
LOCK_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Workspace:
    """Names of one study; raises ``WorkspaceError`` for a token or variant that cannot be one."""

    token: str
    variants: tuple[str, ...]

    def __post_init__(self) -> None:
        # No underscore in the token: token "a" with variant "b_c" is never token "a_b" with "c".
        if not re.fullmatch(r"[a-z0-9]{1,20}", self.token):
            raise WorkspaceError(
                f"The token is {self.token!r}: take 1 to 20 lower-case letters and digits."
            )
        for variant in self.variants:
            _check_variant(variant, self._schema(variant))
        if len(set(self.variants)) < len(self.variants):
            raise WorkspaceError(
                f"The variants are {', '.join(self.variants)}: name each of them once."
            )

    def schema(self, variant: str) -> str:
        """Return the variant's PostgreSQL schema; raises ``WorkspaceError`` for a foreign one."""
        return self._schema(self._own(variant))

    def key_prefix(self, variant: str) -> str:
        """Return what the variant's keys begin with; raises ``WorkspaceError`` likewise."""
        return f"statecache:study:{self.token}:{self._own(variant)}:"

    def _schema(self, variant: str) -> str:
        return f"statecache_study_{self.token}_{variant}"

    def _own(self, variant: str) -> str:
        if variant not in self.variants:
            raise WorkspaceError(
                f"{variant!r} is no variant of this workspace: open it with that variant beside "
                f"{', '.join(self.variants) or 'none'}."
            )
        return variant


def _check_variant(variant: str, schema: str) -> None:
    if not re.fullmatch(r"[a-z0-9_]+", variant):
        raise WorkspaceError(
            f"The variant is {variant!r}: take lower-case letters, digits and underscores."
        )
    if len(schema) > IDENTIFIER_BYTES:
        raise WorkspaceError(
            f"The schema {schema} has {len(schema)} bytes and PostgreSQL keeps "
            f"{IDENTIFIER_BYTES}: shorten the variant {variant!r}."
        )


def new_token() -> str:
    """Return a token that nobody else has."""
    return secrets.token_hex(4)


def clean_up(servers: Servers, token: str) -> None:
    """Remove what a process that was killed left under a token of ``new_token``.

    Raises ``WorkspaceError`` where something could not be removed.
    """
    with open_database(servers) as database:
        rows = database.execute(
            "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname, %s)",
            [f"statecache_study_{token}_"],
        ).fetchall()
    schemas = [str(name) for (name,) in rows]
    variants = tuple(name.removeprefix(f"statecache_study_{token}_") for name in schemas)
    if schemas and (troubles := _remove(servers, Workspace(token, variants), schemas)):
        raise WorkspaceError(" ".join(troubles))


@contextmanager
def open_workspace(
    servers: Servers, variants: Sequence[str], *, token: str | None = None
) -> Iterator[Workspace]:
    """Create a schema a variant and remove schemas and keys at the end, whatever happens.

    Raises ``WorkspaceError`` where a name is taken (nothing is touched then), not permitted, or
    where the removal fails; a removal that fails after an error is a note on that error.
    """
    token = token or os.environ.get(TOKEN) or new_token()
    workspace = Workspace(token, tuple(variants))
    created: list[str] = []
    try:
        _refuse_foreign_keys(servers, workspace)
        _create_schemas(servers, workspace, created)
        yield workspace
    except BaseException as error:
        for trouble in _remove(servers, workspace, created):
            error.add_note(trouble)
        raise
    if troubles := _remove(servers, workspace, created):
        raise WorkspaceError(" ".join(troubles))


def _refuse_foreign_keys(servers: Servers, workspace: Workspace) -> None:
    with open_redis(servers) as client:
        try:
            taken = next(_own_keys(client, workspace), None)
        except redis.RedisError as error:
            raise WorkspaceError(
                f"The keys of the study cannot be listed ({first_line(error)}): allow SCAN and "
                "UNLINK on statecache:study:* to the user in REDIS_URL."
            ) from error
    if taken is not None:
        raise WorkspaceError(
            f"The key {taken.decode(errors='replace')!r} is already there and may be somebody "
            "else's: take another token."
        )


def _create_schemas(servers: Servers, workspace: Workspace, created: list[str]) -> None:
    """Create all schemas or none, in one transaction, and list them in ``created``."""
    schemas = [workspace.schema(variant) for variant in workspace.variants]
    with open_database(servers) as database:
        try:
            with database.transaction():
                for schema in schemas:
                    database.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
                # Ours from here on: an interrupt during the commit must not leave them behind.
                created.extend(schemas)
        except psycopg.errors.DuplicateSchema as error:
            raise WorkspaceError(
                f"PostgreSQL says that {first_line(error)}, and it may be somebody else's: "
                "take another token."
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise WorkspaceError(
                f"PostgreSQL says {first_line(error)}: grant CREATE on the database to the role "
                "in DATABASE_URL, or unset DATABASE_URL and REDIS_URL for embedded servers."
            ) from error


def _remove(servers: Servers, workspace: Workspace, created: list[str]) -> list[str]:
    """Remove schemas and keys, each as far as it goes, and return what could not be removed."""
    if not created:
        return []
    tasks: dict[str, Callable[[], object]] = {
        f"The schemas {', '.join(created)}": lambda: _drop_schemas(servers, created),
        f"The keys statecache:study:{workspace.token}:*": lambda: unlink_keys(servers, workspace),
    }
    troubles = []
    for what, remove in tasks.items():
        try:
            remove()
        except (psycopg.Error, redis.RedisError, StateCacheError) as error:
            troubles.append(f"{what} could not be removed ({first_line(error)}): do it by hand.")
    return troubles


def _drop_schemas(servers: Servers, schemas: Sequence[str]) -> None:
    with open_database(servers) as database:
        _set_lock_timeout(database)
        for schema in schemas:
            statement = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")
            database.execute(statement.format(sql.Identifier(schema)))


def _set_lock_timeout(database: Database) -> None:
    database.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LOCK_TIMEOUT_S}s"])
    # "drop cascades to table …" is no news.
    database.execute("SELECT set_config('client_min_messages', 'warning', false)")


def unlink_keys(servers: Servers, workspace: Workspace) -> None:
    """Remove what the cache holds for the workspace."""
    with open_redis(servers) as client:
        batch: list[bytes] = []
        for key in _own_keys(client, workspace):
            batch.append(key)
            if len(batch) == SCAN_BATCH:
                client.unlink(*batch)
                batch.clear()
        if batch:
            client.unlink(*batch)


def _own_keys(client: redis.Redis, workspace: Workspace) -> Iterator[bytes]:
    """Walk the keys below the prefixes by SCAN, which never holds the server up."""
    prefixes = tuple(workspace.key_prefix(variant).encode() for variant in workspace.variants)
    pattern = f"statecache:study:{workspace.token}:*"
    key: Any
    for key in client.scan_iter(match=pattern, count=SCAN_BATCH):
        if key.startswith(prefixes):
            yield key
