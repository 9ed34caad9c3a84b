"""Plants bugs in the scripts that run in the cache: a test of tests."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["DROP_VERSION_CHECK", "sabotaged_scripts"]

#: What turns "put unless something newer is there" into "put": (regular expression, replacement).
DROP_VERSION_CHECK = (r"held_version\s*>\s*version", "false")


@contextmanager
def sabotaged_scripts(pattern: str, replacement: str) -> Iterator[None]:
    """Replace the pattern in every script that statecache has loaded, and the script's digest.

    Raises ``LookupError`` where nothing matches: a bug that was not planted cannot be found.
    """
    replaced = _plant(pattern, replacement)
    if not replaced:
        raise LookupError(f"no script of statecache matches {pattern}: adapt the sabotage")
    try:
        yield
    finally:
        for module, name, former in replaced:
            setattr(module, name, former)


def _plant(pattern: str, replacement: str) -> list[tuple[Any, str, Any]]:
    modules = [module for name, module in sys.modules.items() if name.startswith("statecache.")]
    replaced: list[tuple[Any, str, Any]] = []
    for module in modules:
        for name, script in list(vars(module).items()):
            if not isinstance(script, bytes) or b"redis.call" not in script:
                continue
            planted = re.sub(pattern.encode(), replacement.encode(), script)
            if planted == script:
                continue
            replaced.append((module, name, script))
            setattr(module, name, planted)
            for other, digest in list(vars(module).items()):
                if digest == _digest(script):
                    replaced.append((module, other, digest))
                    setattr(module, other, _digest(planted))
    return replaced


def _digest(script: bytes) -> str:
    return hashlib.sha1(script, usedforsecurity=False).hexdigest()
