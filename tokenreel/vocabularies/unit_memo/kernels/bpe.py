"""Encodes documents by a BPE, character or word model: units that were seen are looked up, new ones merged, in one pass."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import BOOL, I32, I64, U8, U32, U64, kernel
from tokenreel.vocabularies.unit_memo.kernels.documents import FIRST, LAST
from tokenreel.vocabularies.unit_memo.kernels.hashing import HALF, MIX, ONE
from tokenreel.vocabularies.unit_memo.kernels.heaps import lift, sink
from tokenreel.vocabularies.unit_memo.kernels.normalizer import NORMALIZER, normalize_unit
from tokenreel.vocabularies.unit_memo.kernels.piece_words import NO_ID, add_steps, joined_of
from tokenreel.vocabularies.unit_memo.kernels.slots import (
    BATCH,
    DONE,
    FULL,
    MOST_IDS,
    MOST_KEPT,
    NARROW,
    TABLE,
    W_I32,
    W_I64,
    W_U8,
    W_U64,
    fetch_slots,
    find_slot,
    has_room,
    keep_unit,
    mask_of,
    read_ids,
)
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child, find_piece

WORK = types.Tuple((W_I32, W_I32, W_U64, W_I32, W_I32, W_U64, W_I32, W_I32))
_NO_MERGE = np.uint64(0xFFFFFFFFFFFFFFFF)  # ranks are far below
_LOW_HALF = np.uint64(0xFFFFFFFF)
_TWO = np.uint64(2)
_SIX, _SIX_BITS = np.uint64(6), np.uint64(63)

# What encodes a normalised unit, as `encode` takes it.
MODEL = types.Tuple((I64, I64, U64, U64, BOOL, I32, I32, I64, I32, types.int32, types.boolean))
_ENCODE = (U8, I32, I64, NORMALIZER, MODEL, types.int64, TABLE, W_I64, types.boolean, W_U64, W_U8, WORK, W_I32, W_I64)


@kernel((U8, I64, I32, U32, I64))
def build_pairs(text, bounds, ids, ranks, trie):
    """Finds what pieces side by side merge into.

    Args:
      text: [bytes] uint8, the pieces that merges make, end to end.
      bounds: [pieces + 1] int64.
      ids: [pieces] int32.
      ranks: [pieces] uint32, the lowest merges first.
      trie: [256 m] int64, what `build_trie` gives for these and all that merge.

    Returns:
      [2 * places] uint64: at each place a pair, (left << 32 | right) + 1 or 0 where there is none, and rank << 32 | piece; [words] uint64 a
      bit for each pair, at what its hash names, for most pairs of a text are none, and these bits fit the cache; and [pieces] int32 the
      number of pairs that become each.
    """
    counts, total = np.zeros(len(ids), np.int32), 0
    table = bits = np.zeros(0, np.uint64)
    for fill in range(2):  # first the pairs are counted
        if fill:
            places = 16
            while places < 2 * total:
                places *= 2
            table, bits = np.zeros(2 * places, np.uint64), np.zeros(max(places >> 5, 1), np.uint64)
        mask, bits_mask = np.uint64((len(table) >> 1) - 1), np.uint64(len(bits) - 1)
        for piece in range(len(ids)):
            for middle in range(bounds[piece] + 1, bounds[piece + 1]):
                left = find_piece(trie, text, bounds[piece], middle)
                right = find_piece(trie, text, middle, bounds[piece + 1]) if left >= 0 else np.int64(-1)
                if right < 0:
                    continue
                if not fill:
                    counts[piece] += 1
                    total += 1
                    continue
                key = (np.uint64(left) << HALF | np.uint64(right)) + ONE
                at = (key * MIX) >> HALF  # the upper half of a product is mixed best
                bits[at >> _SIX & bits_mask] |= ONE << (at & _SIX_BITS)
                at &= mask
                while table[at << ONE] != 0:
                    at = (at + ONE) & mask
                table[at << ONE], table[at << ONE | ONE] = key, np.uint64(ranks[piece]) << HALF | np.uint64(ids[piece])
    return table, bits, counts


@njit(nogil=True, inline="always")
def _merged(pairs, bits, left, right):
    """Looks up what two symbols become: rank << 32 | piece, or `_NO_MERGE`."""
    if left < 0 or right < 0:
        return _NO_MERGE
    key = (np.uint64(left) << HALF | np.uint64(right)) + ONE
    mask = np.uint64((len(pairs) >> 1) - 1)
    place = (key * MIX) >> HALF
    if bits[place >> _SIX & np.uint64(len(bits) - 1)] >> (place & _SIX_BITS) & ONE == 0:
        return _NO_MERGE
    place &= mask
    while True:
        known = pairs[place << ONE]
        if known == key:
            return pairs[place << ONE | ONE]
        if known == 0:
            return _NO_MERGE
        place = (place + ONE) & mask


@njit(nogil=True, inline="always")
def _find_symbols(text, size, trie, named, symbols, begins):
    """Divides a normalised unit into characters and user-defined symbols: pieces, or -1, and where each begins; gives their number."""
    i, count = np.int64(0), np.int64(0)
    while i < size:
        begins[count] = i
        stop, piece, j, base = i, np.int64(-1), i, np.int64(ROOT)
        while len(named) and j < size:
            slot = child(named, base, np.int64(text[j]))
            if slot == 0:
                break
            j += 1
            if slot & MASK:
                piece, stop = (slot & MASK) - 1, j
            base = slot >> BASE & MASK
        if piece < 0:
            lead = text[i]
            stop = min(i + 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0), size)
            slot, base = np.int64(0), np.int64(ROOT)
            while i < stop:
                slot = child(trie, base, np.int64(text[i]))
                if slot == 0:
                    break
                base = slot >> BASE & MASK
                i += 1
            piece = (slot & MASK) - 1
        i = stop
        symbols[count] = piece
        count += 1
    begins[count] = size
    return count


@njit(nogil=True, inline="always")
def _find_words(text, size, trie, symbols, begins):
    """Divides a normalised unit before each space: words that are pieces, or -1, and where each begins; gives their number."""
    count, begin = np.int64(0), np.int64(0)
    for i in range(1, size + 1):
        if i == size or (i + 2 < size and text[i] == 0xE2 and text[i + 1] == 0x96 and text[i + 2] == 0x81):
            begins[count] = begin
            symbols[count] = find_piece(trie, text, begin, i)
            count, begin = count + 1, i
    begins[count] = size
    return count


@njit(nogil=True, inline="always")
def _merge_short(symbols, begins, ranks, count, pairs, bits):
    """Merges up to `MOST_KEPT` symbols: of all neighbours the best pair, of equals the first, until none merges; gives how many are left.

    A merge moves all behind it to the left, which is faster than a heap and linked lists in short units.
    """
    for i in range(count - 1):
        place = np.uint64(i)
        ranks[place] = _merged(pairs, bits, symbols[place], symbols[place + ONE])
    while count > 1:
        best, lowest = np.uint64(0), ranks[0] >> HALF
        for i in range(1, count - 1):
            place = np.uint64(i)
            rank = ranks[place] >> HALF
            if rank < lowest:
                best, lowest = place, rank
        if lowest == _LOW_HALF:
            break
        symbols[best] = np.int32(ranks[best] & _LOW_HALF)
        count -= 1
        for i in range(np.int64(best) + 1, count):
            place = np.uint64(i)
            symbols[place], begins[place] = symbols[place + ONE], begins[place + ONE]
            ranks[place] = ranks[place + ONE]
        begins[count] = begins[count + 1]
        if best > 0:
            ranks[best - ONE] = _merged(pairs, bits, symbols[best - ONE], symbols[best])
        if np.int64(best) < count - 1:
            ranks[best] = _merged(pairs, bits, symbols[best], symbols[best + ONE])
    return count


@njit(nogil=True)
def _merge_long(work, count, pairs, bits):
    """Merges any number of symbols, in the same order, in a time that grows little faster: by a heap and linked lists.

    The heap holds rank << 32 | place of pairs, some of which are no longer: those whose place has another rank now.
    """
    symbols, begins, ranks, before, behind, heap, _, _ = work
    size = 0
    for i in range(count):
        before[i], behind[i] = i - 1, i + 1
        ranks[i] = _merged(pairs, bits, symbols[i], symbols[i + 1]) if i + 1 < count else _NO_MERGE
        if ranks[i] != _NO_MERGE:
            heap[size] = ranks[i] & ~_LOW_HALF | np.uint64(i)
            size += 1
    for parent in range(size // 2 - 1, -1, -1):
        sink(heap, size, parent)
    while size:
        top = heap[0]
        size -= 1
        heap[0] = heap[size]
        sink(heap, size, 0)
        place = np.int64(top & _LOW_HALF)
        if ranks[place] == _NO_MERGE or ranks[place] >> HALF != top >> HALF:
            continue
        right = behind[place]
        symbols[place] = np.int32(ranks[place] & _LOW_HALF)
        ranks[right] = _NO_MERGE
        behind[place] = behind[right]
        if behind[place] < count:
            before[behind[place]] = place
        for left in (np.int64(before[place]), place):
            if left < 0:
                continue
            ranks[left] = _NO_MERGE
            if behind[left] < count:
                ranks[left] = _merged(pairs, bits, symbols[left], symbols[behind[left]])
            if ranks[left] != _NO_MERGE:
                heap[size] = ranks[left] & ~_LOW_HALF | np.uint64(left)
                lift(heap, size)
                size += 1
    left = place = np.int64(0)
    while place < count:
        symbols[left], begins[left] = symbols[place], begins[place]
        left += 1
        place = np.int64(behind[place])
    begins[left] = begins[count]
    return left


@njit(nogil=True, inline="always")
def _write_ids(text, symbols, begins, count, model, joined, spans, stops, out, at):
    """Writes what symbols are to `out` from `at` on; gives the number of ids.

    Of ids `joined` side by side one is left. With spans, `stops`, written to, has the byte of the normalised unit where each ends.
    """
    _, _, _, _, plain, spelled, spelled_stops, spelled_bounds, byte_ids, unknown, _ = model
    first = at
    for j in range(count):
        symbol = np.int64(symbols[j])
        if symbol >= 0 and plain[symbol]:
            out[np.uint64(at)] = symbol
            if spans:
                stops[np.uint64(at - first)] = begins[np.uint64(j + 1)]
            at += 1
        elif symbol >= 0:
            for i in range(spelled_bounds[symbol], spelled_bounds[symbol + 1]):
                out[at] = spelled[i]
                if spans:
                    stops[at - first] = begins[j] + spelled_stops[i]
                at += np.int64(spelled[i] != joined or at == first or out[at - 1] != joined)
        elif len(byte_ids):
            for i in range(begins[j], begins[j + 1]):
                out[at] = byte_ids[text[i]]
                if spans:  # the last of the bytes has all of the character
                    stops[at - first] = begins[j] if i + 1 < begins[j + 1] else begins[j + 1]
                at += 1
        elif at == first or out[at - 1] != joined:
            out[at] = unknown
            if spans:
                stops[at - first] = begins[j + 1]
            at += 1
    return at - first


@njit(nogil=True)
def _encode_other(text, size, model, joined, spans, work, out, at):
    """Encodes a normalised unit that is long, or of a model of words."""
    trie, named, pairs, bits = model[0], model[1], model[2], model[3]
    symbols, begins, stops = work[0], work[1], work[6]
    if model[-1]:
        count = _find_words(text, size, trie, symbols, begins)
    else:
        count = _merge_long(work, _find_symbols(text, size, trie, named, symbols, begins), pairs, bits)
    return _write_ids(text, symbols, begins, count, model, joined, spans, stops, out, at)


def make_encode(*, spans):
    """Makes `encode`, or the one of words with spans: compiled apart, so that the loop of ids has nothing of the other."""

    def encode(text, starts, first, normalizer, model, lead, table, progress, looks_up, batch, spelling, work, out, counts):
        """Encodes documents.

        Args:
          text: [bytes] uint8, of `documents.cut_documents` like the two that follow.
          starts: [units + 1] int32.
          first: [n + 1] int64.
          normalizer: see `normalizer.normalize_unit`.
          model: a tuple: the trie of what merges, and that of user-defined symbols or nothing, of `build_trie`; what `build_pairs` gives
            (two arrays); [k] bool which of the symbols that these name are ids; what the others are: int32 ids end to end, int32 the byte
            of the symbol where each ends, and [k + 1] int64 bounds; [256] int32 the pieces of bytes, or empty: then unknown characters
            side by side become one id, but not in words; int32 the id of an unknown character; and whether it is a model of words.
          lead: what stands in place of an id in the word before a document, where `out` has words, as `piece_words` says.
          table: a tuple: slots, ids, bytes, and [3] int64 how much of them is taken; written to.
          progress: [5] int64, written to, zeros at first: the document, the unit where it goes on, ids written, ids written before the
            document, units that were new.
          looks_up: whether units are looked up, and kept.
          batch: [3 * BATCH] uint64, written to.
          spelling: [m] uint8, written to: one normalised unit.
          work: symbols, their first bytes (int32) and ranks (uint64), before and behind (int32), [m + 1] each, a heap, [3 * m + 2] uint64,
            ends of tokens and origins of bytes (int32), [m + 1] each; written to.
          out: int32, written to: the ids. `ASK` is among those of documents that only the library can encode.
          counts: [n] int64, written to: ids of each document.

        Returns:
          `DONE`, or `FULL` or `NARROW`: called again with more room in the table, or in `spelling` and `out`, it goes on where it was.
        """
        slots, ids, store, sizes = table
        trie, named, pairs, bits, words_only = model[0], model[1], model[2], model[3], model[10]
        symbols, begins, ranks, _, _, _, stops, origins = work
        joined, mask = joined_of(spans, model[9], model[8]), mask_of(slots)
        joins = joined != NO_ID
        document, unit, at, first_at, new = progress[0], progress[1], progress[2], progress[3], progress[4]
        status = DONE
        while document < len(counts) and status == DONE:
            first_unit, end_unit = first[document], first[document + 1]
            fetched = begin = unit
            while unit < end_unit:
                if unit == fetched and looks_up:
                    begin, fetched = unit, min(unit + BATCH, end_unit)
                    fetch_slots(text, starts, unit, fetched, first_unit, end_unit, slots, batch)
                start = np.int64(starts[unit])
                length = np.int64(starts[unit + 1]) - start
                flag = np.int64(unit == first_unit) * FIRST | np.int64(unit == end_unit - 1) * LAST
                kept, slot, count = looks_up and length <= MOST_KEPT, np.uint64(0), np.int64(-1)
                key, size = np.uint64(0), np.uint64(0)
                if at + MOST_IDS > len(out):
                    status = NARROW
                    break
                if kept:
                    j = np.uint64(3 * (unit - begin))
                    key, size = batch[j], batch[j + ONE]
                    slot = find_slot(text, start, length, key, size, batch[j + _TWO], mask, slots, store)
                    count = read_ids(slots, slot, ids, out, at)
                if count < 0:
                    if not has_room(slots, ids, store, sizes):
                        status = FULL
                        break
                    spelled = normalize_unit(text, start, start + length, flag, normalizer, spelling, origins, spans)
                    if spelled < 0 or at + spelled + MOST_IDS > len(out):
                        status = NARROW
                        break
                    place = at + np.int64(spans and flag & FIRST != 0)
                    # Written out here: what is passed to a function is counted there, array by array.
                    if spelled > MOST_KEPT or words_only:
                        count = _encode_other(spelling, spelled, model, joined, spans, work, out, place)
                    else:
                        count = _find_symbols(spelling, spelled, trie, named, symbols, begins)
                        count = _merge_short(symbols, begins, ranks, count, pairs, bits)
                        count = _write_ids(spelling, symbols, begins, count, model, joined, spans, stops, out, place)
                    if spans:
                        add_steps(out, place, place + count, flag, lead, stops, origins)
                        count += place - at
                    if kept and count <= MOST_IDS:
                        keep_unit(text, start, length, key, size, slot, out, at, count, slots, ids, store, sizes)
                    new += 1
                if joins and count > 0 and at > first_at and out[at] == joined and out[at - 1] == joined:
                    count -= 1
                    for i in range(count):
                        out[at + i] = out[at + i + 1]
                at += count
                unit += 1
            if status == DONE:
                counts[document] = at - first_at
                first_at = at
                document += 1
        progress[0], progress[1], progress[2], progress[3], progress[4] = document, unit, at, first_at, new
        return status

    if spans:
        encode.__qualname__ = "encode_with_spans"
    return kernel(_ENCODE, counts_arrays=False)(encode)


encode = make_encode(spans=False)
