"""Compiles the loops of the unit memo with Numba, on the first use of a machine."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types

BOOL, U8, U32, U64, I32, I64, F32 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.boolean, types.uint8, types.uint32, types.uint64, types.int32, types.int64, types.float32)
)


def kernel(*signatures: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles for the types of some arguments; for each process anew where nothing can be kept on disk."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            kept: Callable[..., Any] = njit(list(signatures), nogil=True, cache=True)(function)
        except (RuntimeError, OSError):
            kept = njit(list(signatures), nogil=True)(function)
        return kept

    return compiled
