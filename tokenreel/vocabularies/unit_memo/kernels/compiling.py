"""Compiles the loops of the unit memo with Numba, on the first use of a machine."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from collections.abc import Callable
from typing import Any

from numba import njit, types

# Types of the arguments: [n] C-contiguous arrays that are not written to. Numba takes writable arrays in their place, too.
BOOL, U8, U32, U64, I32, I64, F32 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.boolean, types.uint8, types.uint32, types.uint64, types.int32, types.int64, types.float32)
)


def kernel(*signatures: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles a function for the types of some arguments and keeps the machine code on disk.

    Where nothing can be kept (a read-only installation, no home), each process compiles for itself.

    Args:
      signatures: of each combination of arguments, a tuple of their Numba types.

    Returns:
      a decorator.
    """

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__qualname__
        # Numba names the files on disk by the function, and drops them when the file that defines the function changes. The machine code
        # also holds copies of functions and constants of the other files, so their digest goes into the name.
        function.__qualname__ = f"{name}_{_digest_of_sources()}"
        try:
            try:
                return njit(list(signatures), nogil=True, cache=True)(function)
            except (RuntimeError, OSError):
                return njit(list(signatures), nogil=True)(function)
        finally:
            function.__qualname__ = name

    return compiled


@functools.cache
def _digest_of_sources() -> str:
    """Hashes all source files of this package; read through `importlib`, for a package may lie in an archive."""
    digest = hashlib.sha256()
    for path in sorted(importlib.resources.files(__package__).iterdir(), key=lambda path: path.name):
        if path.name.endswith(".py"):
            digest.update(b"%s\0%s\0" % (path.name.encode(), path.read_bytes()))
    return digest.hexdigest()[:16]
