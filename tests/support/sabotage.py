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
            source = getattr(script, "source", None)
            if not isinstance(source, bytes):
                continue
            planted = re.sub(pattern.encode(), replacement.encode(), source)
            if planted != source:
                digest = hashlib.sha1(planted, usedforsecurity=False).hexdigest()
                setattr(module, name, script._replace(source=planted, digest=digest))
                replaced.append((module, name, script))
    return replaced
