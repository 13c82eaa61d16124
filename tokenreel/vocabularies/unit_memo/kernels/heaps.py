"""A heap in an array of uint64, or behind a pointer (`words.pointer`): its smallest entry first.

Tested in tests/tokenreel/vocabularies/unit_memo/kernels/test_bpe.py and tests/tokenreel/vocabularies/unit_memo/test_byte_pairs.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

from numba import njit


@njit(nogil=True)
def sink(heap, size, parent):
    """Moves an entry of a heap down to where both below it are larger."""
    entry = heap[parent]
    while 2 * parent + 1 < size:
        below = 2 * parent + 1
        if below + 1 < size and heap[below + 1] < heap[below]:
            below += 1
        if heap[below] >= entry:
            break
        heap[parent] = heap[below]
        parent = below
    heap[parent] = entry


@njit(nogil=True)
def lift(heap, below):
    """Moves an entry of a heap up to where the one above it is no larger."""
    while below > 0 and heap[below] < heap[(below - 1) >> 1]:
        parent = (below - 1) >> 1
        heap[below], heap[parent] = heap[parent], heap[below]
        below = parent
