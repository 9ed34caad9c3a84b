"""Compiled functions: numba with types, without a wait at import and without a trace in the log.

Machine code is kept beside the module, or in the user's cache folder where that cannot be written;
where neither can, it is compiled in every process that needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, Final, TypeVar, cast

import numba

__all__ = [
    "BOOL",
    "CODES",
    "FLOAT",
    "FLOATS",
    "INT",
    "INTS",
    "INTS32",
    "MATRIX",
    "WORDS",
    "kernel",
    "part",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

INT: Final = numba.int64
FLOAT: Final = numba.float64
BOOL: Final = numba.boolean
# A parameter declared read-only takes writable arrays as well, not the other way round.
FLOATS: Final = numba.types.Array(numba.float64, 1, "C", readonly=True)
MATRIX: Final = numba.types.Array(numba.float64, 2, "C", readonly=True)
INTS: Final = numba.types.Array(numba.int64, 1, "C", readonly=True)
INTS32: Final = numba.types.Array(numba.int32, 1, "C", readonly=True)
CODES: Final = numba.types.Array(numba.uint8, 1, "C", readonly=True)
WORDS: Final = numba.types.Array(numba.uint64, 1, "C", readonly=True)


def kernel(*types: Any) -> Callable[[_Function], _Function]:
    """Compile for these argument types, at the first call; it runs outside the interpreter lock."""

    def lazily(function: _Function) -> _Function:
        lock = Lock()  # else threads that call it first together would each compile it
        compiled: list[_Function] = []

        @wraps(function)
        def call(*arguments: Any) -> Any:
            with lock:
                if not compiled:
                    compiled.append(_compile(function, types))
            return compiled[0](*arguments)

        return cast("_Function", call)

    return lazily


def part(function: _Function) -> _Function:
    """Let kernels call this function; it is compiled into each of them.

    Machine code is kept until the kernel's own module changes: after a change to a part in another
    module, touch those of the kernels that call it.
    """
    return _compile(function, None)


def _compile(function: _Function, types: tuple[Any, ...] | None) -> _Function:
    try:
        compiled = numba.njit(types, cache=True, nogil=True)(function)
    except RuntimeError:  # numba finds no folder that can be written
        compiled = numba.njit(types, nogil=True)(function)
    return cast("_Function", compiled)
