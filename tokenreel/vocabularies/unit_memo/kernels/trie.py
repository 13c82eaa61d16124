"""The pieces of a model as a double array (Aoe 1989)."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, kernel

# A trie is [256 n] int64 slots. A node is known by its base; its child by a byte is in slot base ^ byte, if that slot is labelled with the
# byte. So a step costs one look into memory and one comparison, however many children a node has. A slot holds, from the upper bits:
# label | `_HERE` (9 bits; the sign stays 0), the base of the child (27 bits), and the piece that ends there + 1, or 0 (27 bits).
_LABEL, BASE = 54, 27  # bits of a slot below its label, and below its base
MASK = (1 << BASE) - 1  # of a base, once shifted, and of a piece + 1
_HERE = 256  # marks a label: 0 is an empty slot, and a byte too
ROOT = 256  # base of the root; the first 256 slots stay empty, for nodes without children have base 0


@njit(nogil=True, inline="always")  # pasted into the caller: a call would count the users of the trie for each byte
def child(trie, base, byte):
    """Gives the slot of a node's child by a byte, or 0. All three are int64, the trie an array of them."""
    slot = trie[np.uint64(base ^ byte)]  # unsigned, or Numba looks whether it counts from the end
    return slot if slot >> _LABEL == byte | _HERE else np.int64(0)


@njit(nogil=True)
def find_piece(trie, text, begin, end):
    """Gives the piece with the bytes [begin, end) of a text ([bytes] uint8), or -1."""
    base, slot = np.int64(ROOT), np.int64(0)
    for i in range(begin, end):
        slot = child(trie, base, np.int64(text[i]))
        if slot == 0:
            break
        base = slot >> BASE & MASK
    return (slot & MASK) - 1


@kernel((U8, I64, I32))
def build_trie(text, bounds, pieces):
    """Builds a trie of pieces as a double array (Aoe 1989; children at the exclusive or of base and byte, as in Darts-clone).

    Args:
      text: [bytes] uint8, the pieces end to end, in the order of their bytes.
      bounds: [pieces + 1] int64.
      pieces: [pieces] int32 what to find at the end of each.

    Returns:
      [256 n] int64 slots, described above.
    """
    # A node is a range of the sorted pieces that begin with the same `depth` bytes, and the slot that it is to be found in.
    begins, ends, places = np.empty(len(text) + 1, np.int64), np.empty(len(text) + 1, np.int64), np.empty(len(text) + 1, np.int64)
    depths = np.empty(len(text) + 1, np.int64)
    begins[0], ends[0], places[0], depths[0] = 0, len(pieces), -1, 0
    nodes = 1
    slots, taken = np.zeros(1024, np.int64), np.zeros(1024, np.bool_)  # bases taken
    blocks, first_open = 2, 2  # of 256 slots: base ^ byte never leaves the block of the base
    labels, label_begins = np.empty(256, np.int64), np.empty(257, np.int64)
    node = 0
    while node < nodes:  # breadth first: nodes near the root lie close together
        begin, end, depth = begins[node], ends[node], depths[node]
        value = np.int64(0)  # of the piece that ends here, which sorts before all that continue it
        while begin < end and bounds[begin + 1] - bounds[begin] == depth:
            value = np.int64(pieces[begin]) + 1
            begin += 1
        count = 0  # of children
        for i in range(begin, end):
            label = np.int64(text[bounds[i] + depth])
            if count == 0 or labels[count - 1] != label:
                labels[count], label_begins[count] = label, i
                count += 1
        label_begins[count] = end
        base = np.int64(0)
        if node == 0:
            base = np.int64(ROOT)
        elif count:
            block = first_open
            while base == 0:  # the first base with room for all children; no two nodes share one, for labels would not tell them apart
                if block == blocks:
                    blocks += 1
                    first_open = max(first_open, blocks - 16)  # the older ones are nearly full
                    if 256 * blocks > len(slots):
                        more_slots, more_taken = np.zeros(2 * len(slots), np.int64), np.zeros(2 * len(slots), np.bool_)
                        more_slots[: len(slots)], more_taken[: len(slots)] = slots, taken
                        slots, taken = more_slots, more_taken
                for candidate in range(256 * block, 256 * block + 256):
                    if taken[candidate]:
                        continue
                    fits = True
                    for i in range(count):
                        if slots[candidate ^ labels[i]]:
                            fits = False
                            break
                    if fits:
                        base = np.int64(candidate)
                        break
                block += 1
            taken[base] = True
        for i in range(count):
            slots[base ^ labels[i]] = (labels[i] | _HERE) << _LABEL
            begins[nodes], ends[nodes], depths[nodes] = label_begins[i], label_begins[i + 1], depth + 1
            places[nodes] = base ^ labels[i]
            nodes += 1
        if node:
            slots[places[node]] |= base << BASE | value
        node += 1
    return slots[: 256 * blocks].copy()
