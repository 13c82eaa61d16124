"""Finds units in the table of those seen, and gathers their ids."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, U64, kernel
from tokenreel.vocabularies.unit_memo.kernels.hashing import ONE, SHORT


@kernel((I32, U64, types.int64, U8, I64, U8, U8, I32, U64, U8))
def find_units(places, place_hashes, count, known_text, known_bounds, known_flags, text, bounds, hashes, flags):
    """Finds units in a table, and which of the others are the same.

    Other threads may add entries while this runs: it looks at the first `count` only, which do not change.

    Args:
      places: [power of two] int32, the table: an entry or -1, at the first empty place from the one that its hash names.
      place_hashes: [power of two] uint64, the hashes of the entries.
      count: entries that there are for the caller.
      known_text: [bytes] uint8, the entries' bytes end to end.
      known_bounds: [entries + 1] int64.
      known_flags: [entries] uint8.
      text: [bytes] uint8, from `cut_documents` like all that follow.
      bounds: [units + 1] int32.
      hashes: [units] uint64.
      flags: [units] uint8.

    Returns:
      [units] int32 the entry of each unit; -1 - i where it is the i-th of those that the table does not hold; of these, [new] int32 a unit
      of the text.
    """
    mask = np.uint64(len(places) - 1)
    size = 1024
    new_places, new_mask = np.full(size, -1, np.int32), np.uint64(size - 1)  # a table of the new ones
    entries, new_units = np.empty(len(hashes), np.int32), np.empty(len(hashes), np.int32)
    new = 0
    for unit in range(len(hashes)):
        value, begin = hashes[unit], bounds[unit]
        length = bounds[unit + 1] - begin
        place = value & mask
        entry = places[place]
        while entry >= 0:
            if place_hashes[place] == value and entry < count:
                if length <= SHORT:  # the hash says it all
                    break
                other = known_bounds[entry]
                if known_flags[entry] == flags[unit] and known_bounds[entry + 1] - other == length:
                    i = 0
                    while i < length and known_text[other + i] == text[begin + i]:
                        i += 1
                    if i == length:
                        break
            place = (place + ONE) & mask
            entry = places[place]
        if entry >= 0:
            entries[unit] = entry
            continue
        # The same among the new ones. Written out: a function for both would be passed five arrays for each unit.
        place = value & new_mask
        entry = new_places[place]
        while entry >= 0:
            other_unit = new_units[entry]
            if hashes[other_unit] == value:
                if length <= SHORT:
                    break
                other_begin = bounds[other_unit]
                if flags[other_unit] == flags[unit] and bounds[other_unit + 1] - other_begin == length:
                    i = 0
                    while i < length and text[other_begin + i] == text[begin + i]:
                        i += 1
                    if i == length:
                        break
            place = (place + ONE) & new_mask
            entry = new_places[place]
        if entry < 0:
            entry = np.int32(new)
            new_places[place], new_units[new] = entry, unit
            new += 1
            if 2 * new > size:  # at most half full, so that runs of full places stay short
                size *= 4
                new_places, new_mask = np.full(size, -1, np.int32), np.uint64(size - 1)
                for i in range(new):
                    place = hashes[new_units[i]] & new_mask
                    while new_places[place] >= 0:
                        place = (place + ONE) & new_mask
                    new_places[place] = i
        entries[unit] = -1 - entry
    return entries, new_units[:new].copy()


@kernel((types.int32[::1], types.uint64[::1], I32, U64, types.int64))
def place_entries(places, place_hashes, entries, hashes, first):
    """Makes entries found in a table by their hashes.

    Args:
      places: [power of two] int32, the table as for `find_units`; written to. More than half of it must stay empty.
      place_hashes: [power of two] uint64, written to.
      entries: [k] int32; those below 0 are left out, so that another table's places can be given.
      hashes: [k] uint64.
      first: is added to the entries.
    """
    mask = np.uint64(len(places) - 1)
    for i in range(len(entries)):
        if entries[i] >= 0:
            at = hashes[i] & mask
            while places[at] >= 0:
                at = (at + ONE) & mask
            place_hashes[at] = hashes[i]
            places[at] = entries[i] + first


@kernel((U8, I32, I32), (U8, I64, I32), (I32, I64, I32))
def take_sequences(values, bounds, indices):
    """Picks sequences in a given order.

    Args:
      values: uint8 or int32, sequences end to end.
      bounds: [n + 1] int64, or int32 for bytes.
      indices: [k] int32.

    Returns:
      their values end to end, of the same dtype, and [k + 1] int64 bounds.
    """
    out_bounds = np.zeros(len(indices) + 1, np.int64)
    for i in range(len(indices)):
        out_bounds[i + 1] = out_bounds[i] + bounds[indices[i] + 1] - bounds[indices[i]]
    out = np.empty(out_bounds[-1], values.dtype)
    at = 0
    for i in range(len(indices)):  # units have a few bytes each: a loop costs less than copies of slices
        for j in range(bounds[indices[i]], bounds[indices[i] + 1]):
            out[at] = values[j]
            at += 1
    return out, out_bounds


@kernel((I32, I64, I64, I64))
def count_ids(entries, first, bounds, new_bounds):
    """Counts the ids of documents.

    Args:
      entries: [units] int32, of `find_units`.
      first: [n + 1] int64, of `cut_documents`.
      bounds: [entries + 1] int64 bounds of the ids of known units.
      new_bounds: [new + 1] int64 bounds of the ids of new ones.

    Returns:
      [n] int64.
    """
    counts = np.zeros(len(first) - 1, np.int64)
    for document in range(len(counts)):
        total = np.int64(0)
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            if entry >= 0:
                total += bounds[entry + 1] - bounds[entry]
            else:  # the i-th new unit, where i is -1 - entry
                total += new_bounds[-entry] - new_bounds[-1 - entry]
        counts[document] = total
    return counts


@kernel((I32, I64, I32, I64, I32, I64, I64, I64, types.int32[::1]))
def gather_ids(entries, first, ids, bounds, new_ids, new_bounds, documents, out_bounds, out):
    """Writes the ids of the units of some documents.

    Args:
      entries: [units] int32, of `find_units`.
      first: [n + 1] int64, of `cut_documents`.
      ids: int32, of known units end to end.
      bounds: [entries + 1] int64.
      new_ids: int32, of new units end to end.
      new_bounds: [new + 1] int64.
      documents: [k] int64, which ones.
      out_bounds: [n + 1] int64 where the ids of each document begin in `out`.
      out: int32, written to.
    """
    for document in documents:
        at = out_bounds[document]
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            if entry >= 0:
                for i in range(bounds[entry], bounds[entry + 1]):
                    out[at] = ids[i]
                    at += 1
            else:
                for i in range(new_bounds[-1 - entry], new_bounds[-entry]):
                    out[at] = new_ids[i]
                    at += 1
