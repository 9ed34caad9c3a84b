"""Tasks that live and fail together, without a group of errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["tasks_together"]


@asynccontextmanager
async def tasks_together() -> AsyncIterator[asyncio.TaskGroup]:
    """Yield a group of tasks; where one fails the others are cancelled, and its error is raised.

    It has nothing to do with an ``ExceptionGroup`` then, not even as its context: a notebook's
    kernel reports none of these as an error, and the reason would be lost.
    """
    first = None
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    if first is not None:
        raise first
