"""The inner loops of `tokenreel.unit_memo`, compiled by Numba at the first use and kept on disk; they run without Python's lock.

Imported only by the function that needs it: Numba takes a third of a second. Array arguments are C-contiguous; callers pass the same types
always, as each further combination would be compiled anew. No kernel passes arrays to another one in its inner loop: they are counted then.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types

FIRST, LAST = 1, 2  # flags of units that begin or end a document
SHORT = 7  # bytes of a unit that its hash tells
MOST_MERGED = 256  # characters of a unit that `merge` encodes; it takes the square of them
RESTART = np.float32(-100_000.0)  # where a sum of scores is below, the library (since 0.2.3) counts on from 0

_SEED, _PRIME, _MIX = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
_HALF, _BYTE, _ONE = np.uint64(32), np.uint64(8), np.uint64(1)
_SIZE_BITS, _FLAG_BITS, _IS_SHORT = np.uint64(8 * SHORT), np.uint64(8 * SHORT + 3), np.uint64(1 << 63)
_SYMBOL, _WHOLE_SYMBOL = np.uint64(0xE29681), np.uint64(0xFFFFFF)
_ULP = 2.0**-23  # spacing of float32 at 1

_ROOT = 256  # base of the root of a trie, see `build_trie`
_LABEL, _BASE = 54, 27  # bits of a slot below its label, and below its base
_MASK = (1 << _BASE) - 1
_HERE = 256  # marks a label: empty slots are 0


_BOOL, _U8, _U32, _U64, _I32, _I64, _F32 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.boolean, types.uint8, types.uint32, types.uint64, types.int32, types.int64, types.float32)
)


def _kernel(*signatures: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles for the types of some arguments; for each process anew where nothing can be kept on disk."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            kept: Callable[..., Any] = njit(list(signatures), nogil=True, cache=True)(function)
        except (RuntimeError, OSError):
            kept = njit(list(signatures), nogil=True)(function)
        return kept

    return compiled


@njit(nogil=True, inline="always")  # as part of the caller: see above
def _child(trie, base, byte):
    """The slot of a node's child by a byte, or 0."""
    slot = trie[base ^ byte]
    return slot if slot >> _LABEL == byte | _HERE else np.int64(0)


@njit(nogil=True)
def _piece(trie, text, begin, end):
    """The piece with the bytes [begin, end) of a text, or -1."""
    base, slot = np.int64(_ROOT), np.int64(0)
    for i in range(begin, end):
        slot = _child(trie, base, np.int64(text[i]))
        if slot == 0:
            break
        base = slot >> _BASE & _MASK
    return (slot & _MASK) - 1


@njit(nogil=True)
def _hash(size, word, value, flag):
    """The hash of a unit: of its size, its last bytes, a hash of all its bytes, and its flags."""
    if size <= SHORT:
        tag = word | np.uint64(size) << _SIZE_BITS | flag << _FLAG_BITS | _IS_SHORT
    else:
        tag = (value ^ flag << _FLAG_BITS) * _PRIME >> _ONE
    tag *= _MIX  # one to one, like the next step
    return tag ^ tag >> _HALF


@_kernel((_U8, _I64, _BOOL, _BOOL))
def cut(text, offsets, allowed, spaces):
    """Cuts documents into units; of each run of spaces one is left, as the normaliser will: lines of source code begin with many.

    Args:
      text: [bytes] uint8, documents end to end.
      offsets: [n + 1] int64, their bounds.
      allowed: [65536] bool, `Cuts.allowed`.
      spaces: [256] bool, bytes that are always and only a space.

    Returns:
      the text that is left, [units + 1] int32 the bounds of units in it, [n + 1] int64 the first unit of each document, [units] uint64
      hashes, and [units] uint8 flags; [n] bool documents with U+2581. Units of up to `SHORT` bytes have the same hash only if they are the
      same, flags included.
    """
    out = np.empty(len(text), np.uint8)
    bounds, hashes, flags = np.empty(len(text) + 1, np.int32), np.empty(len(text), np.uint64), np.empty(len(text), np.uint8)
    first, with_symbol = np.empty(len(offsets), np.int64), np.zeros(len(offsets) - 1, np.bool_)
    unit = at = np.int64(0)
    bounds[0] = 0
    for document in range(len(offsets) - 1):
        first[document] = unit
        begin = at  # of the unit
        last = np.int64(0)
        space = False
        word, value, flag = np.uint64(0), _SEED, np.uint64(FIRST)
        for i in range(offsets[document], offsets[document + 1]):
            byte = np.int64(text[i])
            if space and spaces[byte]:
                continue
            space = spaces[byte]
            if allowed[byte << 8 | last] and at > begin:
                hashes[unit], flags[unit] = _hash(at - begin, word, value, flag), flag
                unit += 1
                bounds[unit] = begin = at
                word, value, flag = np.uint64(0), _SEED, np.uint64(0)
            out[at] = byte
            at += 1
            last = byte
            word = word << _BYTE | np.uint64(byte)
            value = (value ^ np.uint64(byte)) * _PRIME
            if word & _WHOLE_SYMBOL == _SYMBOL:
                with_symbol[document] = True
        if at > begin:
            flag |= np.uint64(LAST)
            hashes[unit], flags[unit] = _hash(at - begin, word, value, flag), flag
            unit += 1
            bounds[unit] = at
    first[-1] = unit
    return out[:at], bounds[: unit + 1].copy(), first, hashes[:unit].copy(), flags[:unit].copy(), with_symbol


@_kernel((_I32, _U64, types.int64, _U8, _I64, _U8, _U8, _I32, _U64, _U8))
def look_up(places, place_hashes, count, known_text, known_bounds, known_flags, text, bounds, hashes, flags):
    """Finds units in a table.

    Args:
      places: [power of two] int32, the table: an entry or -1, at the first empty place from the one that its hash names.
      place_hashes: [power of two] uint64, the hashes of the entries.
      count: entries that there are for the caller; others may come while this runs.
      known_text: [bytes] uint8, the entries' bytes end to end.
      known_bounds: [entries + 1] int64.
      known_flags: [entries] uint8.
      text: [bytes] uint8, from `cut` like all that follow.
      bounds: [units + 1] int32.
      hashes: [units] uint64.
      flags: [units] uint8.

    Returns:
      [units] int32 the entry of each unit; -1 - i where it is the i-th of those that the table does not hold; of these, [new] int32 a unit
      of the text.
    """
    mask = np.uint64(len(places) - 1)
    size = 1024
    new_places, new_mask = np.full(size, -1, np.int32), np.uint64(size - 1)
    entries, new_units = np.empty(len(hashes), np.int32), np.empty(len(hashes), np.int32)
    new = 0
    for unit in range(len(hashes)):
        value, begin = hashes[unit], bounds[unit]
        length = bounds[unit + 1] - begin
        place = value & mask
        entry = places[place]
        while entry >= 0:
            if place_hashes[place] == value and entry < count:
                if length <= SHORT:
                    break
                other = known_bounds[entry]
                if known_flags[entry] == flags[unit] and known_bounds[entry + 1] - other == length:
                    i = 0
                    while i < length and known_text[other + i] == text[begin + i]:
                        i += 1
                    if i == length:
                        break
            place = (place + _ONE) & mask
            entry = places[place]
        if entry >= 0:
            entries[unit] = entry
            continue
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
            place = (place + _ONE) & new_mask
            entry = new_places[place]
        if entry < 0:
            entry = np.int32(new)
            new_places[place], new_units[new] = entry, unit
            new += 1
            if 2 * new > size:
                size *= 4
                new_places, new_mask = np.full(size, -1, np.int32), np.uint64(size - 1)
                for i in range(new):
                    place = hashes[new_units[i]] & new_mask
                    while new_places[place] >= 0:
                        place = (place + _ONE) & new_mask
                    new_places[place] = i
        entries[unit] = -1 - entry
    return entries, new_units[:new].copy()


@_kernel((_U8, _I32, _I32), (_U8, _I64, _I32), (_I32, _I64, _I32))
def take(values, bounds, indices):
    """Picks sequences in a given order: their values end to end, and [len(indices) + 1] int64 bounds."""
    out_bounds = np.zeros(len(indices) + 1, np.int64)
    for i in range(len(indices)):
        out_bounds[i + 1] = out_bounds[i] + bounds[indices[i] + 1] - bounds[indices[i]]
    out = np.empty(out_bounds[-1], values.dtype)
    at = 0
    for i in range(len(indices)):
        for j in range(bounds[indices[i]], bounds[indices[i] + 1]):
            out[at] = values[j]
            at += 1
    return out, out_bounds


@_kernel((types.int32[::1], types.uint64[::1], _I32, _U64, types.int64))
def place(places, place_hashes, entries, hashes, first):
    """Makes entries found in a table by their hashes; `first` is added to them, and those below 0 are left out."""
    mask = np.uint64(len(places) - 1)
    for i in range(len(entries)):
        if entries[i] >= 0:
            at = hashes[i] & mask
            while places[at] >= 0:
                at = (at + _ONE) & mask
            place_hashes[at] = hashes[i]
            places[at] = entries[i] + first


@_kernel((_I32, _I64, _I64, _I64))
def count(entries, first, bounds, new_bounds):
    """[n] int64 how many ids documents have, from `look_up`, `cut`, and the bounds of ids of known and of new units."""
    counts = np.zeros(len(first) - 1, np.int64)
    for document in range(len(counts)):
        total = np.int64(0)
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            if entry >= 0:
                total += bounds[entry + 1] - bounds[entry]
            else:
                total += new_bounds[-entry] - new_bounds[-1 - entry]
        counts[document] = total
    return counts


@_kernel((_I32, _I64, _I32, _I64, _I32, _I64, _I64, _I64, types.int32[::1]))
def gather(entries, first, values, bounds, new_values, new_bounds, documents, out_bounds, out):
    """Writes the values of the units of some documents, each from its `out_bounds` on."""
    for document in documents:
        at = out_bounds[document]
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            if entry >= 0:
                for i in range(bounds[entry], bounds[entry + 1]):
                    out[at] = values[i]
                    at += 1
            else:
                for i in range(new_bounds[-1 - entry], new_bounds[-entry]):
                    out[at] = new_values[i]
                    at += 1


@_kernel((_I32, _I64, _F32, _F32, _F32, _F32))
def in_doubt(entries, first, scores, certain, new_scores, new_certain):
    """[n] bool whether the rounding of sums may decide some unit of a document otherwise than at its beginning; see `segment`."""
    out = np.zeros(len(first) - 1, np.bool_)
    for document in range(len(out)):
        total = 0.0
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            reach = min(abs(total) * 1.001 + 1, -1.001 * RESTART)  # sums below begin anew
            if entry >= 0:
                total += scores[entry]
                doubt = certain[entry] < reach
            else:
                total += new_scores[-1 - entry]
                doubt = new_certain[-1 - entry] < reach
            if doubt and unit > first[document]:
                out[document] = True
                break
    return out


@_kernel((_U8, _I32, _I32, _U8, _U32, _U8, types.int64, _I64, types.boolean, types.boolean))
def normalize(text, bounds, units, flags, charsmap, replacements, longest, symbols, prefix, collapse):
    """Writes units as the library's normaliser does in the midst, at the beginning or at the end of a text.

    Args:
      text: [bytes] uint8; this, the bounds and the flags are from `cut`.
      bounds: [units + 1] int32.
      units: [k] int32, which ones.
      flags: [units] uint8.
      charsmap: uint32, the Darts double array of the normaliser's rules.
      replacements: uint8, what they put in place, each ended by NUL.
      longest: bytes of the longest of these.
      symbols: int64, what `build_trie` gives for user-defined symbols, which stay as they are.
      prefix: whether a text begins with a space.
      collapse: whether spaces side by side are one, and none at its beginning and end.

    Returns:
      uint8 texts end to end, and [k + 1] int64 bounds.
    """
    room = 3 * longest + len(symbols) + 1024  # for one step: a replacement, or a symbol, of which none is longer than their trie
    any_symbols = symbols.any()
    total = np.int64(0)
    for unit in units:
        total += bounds[unit + 1] - bounds[unit]
    out, out_bounds = np.empty(2 * total + room, np.uint8), np.zeros(len(units) + 1, np.int64)
    k = 0
    while k < len(units):
        i, end, flag = np.int64(bounds[units[k]]), np.int64(bounds[units[k] + 1]), flags[units[k]]
        begin = at = out_bounds[k]
        after_space = collapse and flag & FIRST != 0
        if flag & FIRST and prefix:
            out[at], out[at + 1], out[at + 2] = 0xE2, 0x96, 0x81
            at += 3
        while i < end:
            if at + room > len(out):
                break
            size = np.int64(0)
            value = np.int64(-1)
            base, j = np.int64(_ROOT), i
            while any_symbols and j < end:
                slot = _child(symbols, base, np.int64(text[j]))
                if slot == 0:
                    break
                j += 1
                if slot & _MASK:
                    size = j - i
                base = slot >> _BASE & _MASK
            if size == 0 and len(charsmap):
                unit = np.int64(charsmap[0])
                node, j = (unit >> 10) << ((unit & 512) >> 6), i
                while j < end:
                    node ^= np.int64(text[j])
                    if node >= len(charsmap):
                        break
                    unit = np.int64(charsmap[node])
                    if unit & 0x800000FF != text[j]:
                        break
                    j += 1
                    node ^= (unit >> 10) << ((unit & 512) >> 6)
                    if unit & 256:
                        size, value = j - i, np.int64(charsmap[node]) & 0x7FFFFFFF
            if value >= 0:
                i += size
                while replacements[value] != 0:
                    if replacements[value] != 0x20:
                        out[at] = replacements[value]
                        at += 1
                        after_space = False
                    elif not after_space:
                        out[at], out[at + 1], out[at + 2] = 0xE2, 0x96, 0x81
                        at += 3
                        after_space = collapse
                    value += 1
            elif size == 0 and text[i] == 0x20:
                i += 1
                if not after_space:
                    out[at], out[at + 1], out[at + 2] = 0xE2, 0x96, 0x81
                    at += 3
                    after_space = collapse
            else:
                lead = text[i]
                size = min(max(size, 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0)), end - i)
                for j in range(i, i + size):
                    out[at] = text[j]
                    at += 1
                i += size
                after_space = False
        if i < end:  # once more, with more room
            grown = np.empty(2 * (at + room), np.uint8)
            grown[:begin] = out[:begin]
            out = grown
            continue
        while (  # a prefix without a text goes, too
            collapse and flag & LAST and at > begin and out[at - 1] == 0x81 and out[at - 2] == 0x96 and out[at - 3] == 0xE2
        ):
            at -= 3
        k += 1
        out_bounds[k] = at
    return out[: out_bounds[-1]].copy(), out_bounds


@_kernel((_U8, _I64, _I32))
def build_trie(text, bounds, pieces):
    """Builds a trie of pieces as a double array (Aoe 1989; children at the exclusive or of base and byte, as in Darts-clone).

    Args:
      text: [bytes] uint8, the pieces end to end, in the order of their bytes.
      bounds: [pieces + 1] int64.
      pieces: [pieces] int32 what to find at the end of each.

      [256 n] int64 slots. The child of a node by a byte is in slot base ^ byte, if that is labelled with the byte; the root's base is
      `_ROOT`. A slot holds, from the upper bits: label | `_HERE`, the base of the child (27 bits), and the piece that ends there + 1, or 0
      (27 bits).
    """
    begins, ends, places = np.empty(len(text) + 1, np.int64), np.empty(len(text) + 1, np.int64), np.empty(len(text) + 1, np.int64)
    depths = np.empty(len(text) + 1, np.int64)
    begins[0], ends[0], places[0], depths[0] = 0, len(pieces), -1, 0
    nodes = 1
    slots, taken = np.zeros(1024, np.int64), np.zeros(1024, np.bool_)  # bases taken
    blocks, first_open = 2, 2  # the first is empty, for nodes without children; the second is the root's
    labels, label_begins = np.empty(256, np.int64), np.empty(257, np.int64)
    node = 0
    while node < nodes:  # breadth first: nodes near the root lie close together
        begin, end, depth = begins[node], ends[node], depths[node]
        value = np.int64(0)
        while begin < end and bounds[begin + 1] - bounds[begin] == depth:
            value = np.int64(pieces[begin]) + 1
            begin += 1
        count = 0
        for i in range(begin, end):
            label = np.int64(text[bounds[i] + depth])
            if count == 0 or labels[count - 1] != label:
                labels[count], label_begins[count] = label, i
                count += 1
        label_begins[count] = end
        base = np.int64(0)
        if node == 0:
            base = np.int64(_ROOT)
        elif count:
            block = first_open
            while base == 0:
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
            slots[places[node]] |= base << _BASE | value
        node += 1
    return slots[: 256 * blocks].copy()


@njit(nogil=True)
def _best_path(text, begin, size, start, model, work, ids, at):
    """Writes the best segmentation of one text, behind a sum of scores, to `ids` from `at` on; see `segment`.

    Returns:
      where the ids end; the sum at the end; the least lead that the best way to a character of the path has over the next best; the largest
      distance of a sum from `start`; characters; whether sums began anew.
    """
    trie, scores, unknown, unknown_score, byte_ids = model
    best, second, back, by = work
    for j in range(size + 1):
        best[j] = second[j] = -np.inf
    best[0] = start
    characters = 0
    restarted = False
    depth = np.float32(0)
    here_at = reached = np.int64(0)
    while here_at < size:
        here = best[here_at]
        depth = max(depth, abs(here - start))
        if here < RESTART:
            for j in range(here_at + 1, reached + 1):
                best[j] -= here
            here = np.float32(0)
            best[here_at] = here
            restarted = True
        lead = text[begin + here_at]
        step = min(1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0), size - here_at)
        single = False
        base = np.int64(_ROOT)
        j = here_at
        while j < size:
            slot = _child(trie, base, np.int64(text[begin + j]))
            if slot == 0:
                break
            j += 1
            piece = slot & _MASK  # + 1; the rest is without branches, which the processor would guess wrong
            candidate, old = scores[piece] + here, best[j]
            better = candidate > old
            second[j] = max(second[j], old if better else candidate)
            best[j] = candidate if better else old
            back[j] = here_at if better else back[j]
            by[j] = piece - 1 if better else by[j]
            single |= (piece != 0) & (j - here_at == step)
            base = slot >> _BASE & _MASK
        if not single:
            j = here_at + step
            rounded = np.float32(unknown_score + here)
            if rounded > best[j]:
                second[j], best[j], back[j], by[j] = best[j], rounded, here_at, unknown
            elif rounded > second[j]:
                second[j] = rounded
        reached = max(reached, j)
        characters += 1
        here_at += step

    first = at
    lead_of_best = np.float32(np.inf)
    j = np.int64(size)
    while j > 0:  # from the end to the beginning
        lead_of_best = min(lead_of_best, best[j] - second[j])
        if by[j] != unknown:
            ids[at] = by[j]
            at += 1
        elif len(byte_ids):
            for i in range(j - 1, back[j] - 1, -1):
                ids[at] = byte_ids[text[begin + i]]
                at += 1
        elif at == first or ids[at - 1] != unknown:
            ids[at] = unknown
            at += 1
        j = np.int64(back[j])
    i, j = first, at - 1
    while i < j:
        ids[i], ids[j] = ids[j], ids[i]
        i += 1
        j -= 1
    return at, best[size], lead_of_best, max(depth, abs(best[size] - start)), characters, restarted


@njit(nogil=True)
def _work(size):
    """What `_best_path` notes for each byte of a text of at most `size`."""
    return np.empty(size + 1, np.float32), np.empty(size + 1, np.float32), np.empty(size + 1, np.int32), np.empty(size + 1, np.int32)


_MODEL = types.Tuple((_I64, _F32, types.int32, types.float32, _I32))
_SEGMENTED = types.Tuple((_I32, _I64, _U8, _I64, _F32))


@_kernel((_U8, _I64, _MODEL))
def segment(text, bounds, model):
    """Finds the best segmentations of normalised texts by a unigram model (Viterbi; Kudo 2018), rounded as the library rounds.

    The library adds scores from the beginning of a document, in float32, so segmentations that are nearly as good as each other are decided
    by rounding. The result is the library's at the beginning of a document. Elsewhere it is the library's if the best way to each character
    of the path leads by more than rounding can make up for.

    Args:
      text: [bytes] uint8, texts end to end.
      bounds: [n + 1] int64.
      model: what `build_trie` gives; [1 + pieces] float32, minus infinity and the scores; id and score of an unknown character; [256] int32
        the pieces of bytes, or empty: then unknown characters side by side become one.

    Returns:
      ids (int32) end to end, [n + 1] int64 bounds, [n] float32 the sums of scores, and [n] float32 the absolute value of a sum before the
      text up to which rounding decides nothing and sums do not begin anew.
    """
    most = np.int64(0)
    for k in range(len(bounds) - 1):
        most = max(most, bounds[k + 1] - bounds[k])
    work, unknown, byte_ids = _work(most), model[2], model[4]
    ids, id_bounds = np.empty(len(text), np.int32), np.zeros(len(bounds), np.int64)
    sums, certain = np.zeros(len(bounds) - 1, np.float32), np.zeros(len(bounds) - 1, np.float32)
    at = np.int64(0)
    for k in range(len(bounds) - 1):
        before = at
        at, sums[k], gap, depth, characters, restarted = _best_path(
            text, bounds[k], bounds[k + 1] - bounds[k], np.float32(0), model, work, ids, at
        )
        id_bounds[k + 1] = at
        if restarted:
            certain[k] = -1
        else:  # two sums are compared, each off by half of the spacing of sums for each character, and here too
            certain[k] = min(0.99 * gap / ((characters + 2) * _ULP) - 2 * depth, -RESTART - 1 - depth)
        if not len(byte_ids):  # how many unknown characters are one token is not known from it, so sums cannot be told from tokens
            for i in range(before, at):
                if ids[i] == unknown:
                    certain[k] = -1
    return ids[:at].copy(), id_bounds, sums, certain


@_kernel((_I64, _I32, _I64, _SEGMENTED, _SEGMENTED, _MODEL, _F32))
def segment_again(documents, entries, first, known, new, model, token_scores):
    """Encodes documents of which `in_doubt` says that rounding may matter: adds up their tokens' scores, and decides units at their sums.

    Args:
      documents: [k] int64.
      entries: [units] int32, of `look_up`.
      first: [n + 1] int64, of `cut`.
      known: units of the table: ids with bounds, normalised texts with bounds, and the last result of `segment`.
      new: units that are not in the table, likewise.
      model: as for `segment`.
      token_scores: [pieces] float32, with the score of an unknown character at its first byte.

    Returns:
      ids (int32) end to end, and [k] int64 their numbers.
    """
    # Unpacked, and written twice: choosing an array in the loop would count its users there.
    ids, id_bounds, text, bounds, certain = known
    new_ids, new_id_bounds, new_text, new_bounds, new_certain = new
    most = room = np.int64(0)
    for document in documents:
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            size = bounds[entry + 1] - bounds[entry] if entry >= 0 else new_bounds[-entry] - new_bounds[-1 - entry]
            most = max(most, size)
            room += size
    work = _work(most)
    out, counts = np.empty(room, np.int32), np.zeros(len(documents), np.int64)
    at = np.int64(0)
    for k in range(len(documents)):
        total = np.float32(0)
        before = at
        for unit in range(first[documents[k]], first[documents[k] + 1]):
            entry = entries[unit]
            if entry >= 0:
                if abs(total) < certain[entry]:
                    for i in range(id_bounds[entry], id_bounds[entry + 1]):
                        out[at] = ids[i]
                        total += token_scores[ids[i]]
                        at += 1
                    continue
                begin, size = bounds[entry], bounds[entry + 1] - bounds[entry]
                at, total, _, _, _, _ = _best_path(text, begin, size, total, model, work, out, at)
            else:
                entry = -1 - entry
                if abs(total) < new_certain[entry]:
                    for i in range(new_id_bounds[entry], new_id_bounds[entry + 1]):
                        out[at] = new_ids[i]
                        total += token_scores[new_ids[i]]
                        at += 1
                    continue
                begin, size = new_bounds[entry], new_bounds[entry + 1] - new_bounds[entry]
                at, total, _, _, _, _ = _best_path(new_text, begin, size, total, model, work, out, at)
        counts[k] = at - before
    return out[:at].copy(), counts


@_kernel((_U8, _I64, _I32, _I64))
def build_pairs(text, bounds, ids, trie):
    """Finds what pieces side by side merge into.

    Args:
      text: [bytes] uint8, the pieces end to end.
      bounds: [pieces + 1] int64.
      ids: [pieces] int32.
      trie: of the same pieces.

    Returns:
      [power of two] uint64 pairs, as a hash table of (left << 32 | right) + 1, and [power of two] int32 the pieces they become.
    """
    size = 16
    while size < 2 * len(text):
        size *= 2
    mask = np.uint64(size - 1)
    pairs, merged = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    for piece in range(len(ids)):
        for middle in range(bounds[piece] + 1, bounds[piece + 1]):
            left, right = _piece(trie, text, bounds[piece], middle), _piece(trie, text, middle, bounds[piece + 1])
            if left >= 0 and right >= 0:
                key = (np.uint64(left) << _HALF | np.uint64(right)) + _ONE
                at = (key * _MIX) >> _HALF & mask
                while pairs[at] != 0:
                    at = (at + _ONE) & mask
                pairs[at], merged[at] = key, ids[piece]
    return pairs, merged


_MERGES = types.Tuple((_I64, _U64, _I32, _F32, types.int32, _I32))


@_kernel((_U8, _I64, _MERGES))
def merge(text, bounds, model):
    """Encodes short normalised texts by a BPE model as the library does: of all pairs that merge, the best, of equals the first.

    Args:
      text: [bytes] uint8, texts end to end.
      bounds: [n + 1] int64.
      model: what `build_trie` and `build_pairs` give; [pieces] float32 scores; id of an unknown character; [256] int32 the pieces of bytes,
        or empty: then unknown characters side by side become one.

    Returns:
      ids (int32) end to end, [n + 1] int64 bounds, and [n] bool which texts are longer than `MOST_MERGED` characters, and have no ids.
    """
    trie, pairs, merged, scores, unknown, byte_ids = model
    mask = np.uint64(len(pairs) - 1)
    ids, id_bounds, long = np.empty(len(text), np.int32), np.zeros(len(bounds), np.int64), np.zeros(len(bounds) - 1, np.bool_)
    symbols, begins = np.empty(MOST_MERGED + 1, np.int64), np.empty(MOST_MERGED + 1, np.int64)
    becomes, ranks = np.empty(MOST_MERGED + 1, np.int64), np.empty(MOST_MERGED + 1, np.float32)
    at = np.int64(0)
    for k in range(len(bounds) - 1):
        i, end = bounds[k], bounds[k + 1]
        count = 0
        while i < end:
            if count == MOST_MERGED:
                long[k] = True
                break
            lead = text[i]
            stop = min(i + 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0), end)
            begins[count] = i
            base, slot = np.int64(_ROOT), np.int64(0)
            while i < stop:  # `_piece`, without the call
                slot = _child(trie, base, np.int64(text[i]))
                if slot == 0:
                    break
                base = slot >> _BASE & _MASK
                i += 1
            i = stop
            symbols[count] = (slot & _MASK) - 1
            count += 1
        if long[k]:
            id_bounds[k + 1] = at
            continue
        begins[count] = end
        fresh, last_fresh = 0, count - 2  # pairs to look up
        while True:
            for j in range(max(fresh, 0), min(last_fresh, count - 2) + 1):
                becomes[j] = -1
                if symbols[j] >= 0 and symbols[j + 1] >= 0:
                    key = (np.uint64(symbols[j]) << _HALF | np.uint64(symbols[j + 1])) + _ONE
                    place = (key * _MIX) >> _HALF & mask
                    while pairs[place] != 0:
                        if pairs[place] == key:
                            becomes[j] = merged[place]
                            ranks[j] = scores[merged[place]]
                            break
                        place = (place + _ONE) & mask
            best = -1
            for j in range(count - 1):
                if becomes[j] >= 0 and (best < 0 or ranks[j] > ranks[best]):
                    best = j
            if best < 0:
                break
            symbols[best] = becomes[best]
            for j in range(best + 1, count - 1):
                symbols[j], begins[j] = symbols[j + 1], begins[j + 1]
                becomes[j], ranks[j] = becomes[j + 1], ranks[j + 1]
            count -= 1
            begins[count] = end
            fresh, last_fresh = best - 1, best
        first = at
        for j in range(count):
            if symbols[j] >= 0:
                ids[at] = symbols[j]
                at += 1
            elif len(byte_ids):
                for i in range(begins[j], begins[j + 1]):
                    ids[at] = byte_ids[text[i]]
                    at += 1
            elif at == first or ids[at - 1] != unknown:
                ids[at] = unknown
                at += 1
        id_bounds[k + 1] = at
    return ids[:at].copy(), id_bounds, long
