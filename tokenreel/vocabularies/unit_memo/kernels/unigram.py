"""Encodes documents by a unigram model: units that were seen are looked up, new ones segmented, in one pass, rounding as the library does.

The library adds scores from the beginning of a document, in float32, so segmentations that are nearly as good as each other are decided by
rounding. What the table holds is the library's at the beginning of a document. Elsewhere it is the library's if the best way to each
character of the path leads by more than rounding can make up for; else the unit is segmented again, at the sum of the scores before it.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import F32, I32, I64, U8, kernel
from tokenreel.vocabularies.unit_memo.kernels.documents import FIRST, LAST
from tokenreel.vocabularies.unit_memo.kernels.hashing import ONE
from tokenreel.vocabularies.unit_memo.kernels.normalizer import NORMALIZER, normalize_unit
from tokenreel.vocabularies.unit_memo.kernels.piece_words import NO_ID, add_steps, bits_of, joined_of
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
    mark,
    mark_of,
    mask_of,
    read_ids,
)
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child

RESTART = np.float32(-100_000.0)  # where a sum of scores is below, the library (since 0.2.3) counts on from 0
_ULP = 2.0**-23  # spacing of float32 at 1

W_F32 = types.float32[::1]
WORK = types.Tuple((W_F32, W_F32, W_I32, W_I32, W_I32, W_I32))
_TWO = np.uint64(2)
_PARTS = 128  # of 1 in which sums are kept in a slot: 24 bits hold `-RESTART`

# What segments: trie, minus infinity and the scores of the pieces, id and score of an unknown character, ids of bytes, scores of tokens.
MODEL = types.Tuple((I64, F32, types.int32, types.float32, I32, F32))
_ENCODE = (U8, I32, I64, NORMALIZER, MODEL, types.int64, TABLE, W_I64, W_F32, types.boolean, W_U64, W_U8, WORK, W_I32, W_I64)


@njit(nogil=True)
def _best_path(text, begin, size, start, model, joined, work, ids, at):
    """Writes the best segmentation of one text, behind a sum of scores, to `ids` from `at` on.

    Args:
      text: [bytes] uint8.
      begin: the text's first byte in it.
      size: the text's bytes.
      start: float32, the sum of scores before it.
      model: as for `encode`.
      joined: the id of which one is left where several stand side by side, or `NO_ID`.
      work: as for `encode`.
      ids: int32, written to.
      at: where to write.

    Returns:
      where the ids end; the sum at the end; the least lead that the best way to a character of the path has over the next best; the largest
      distance of a sum from `start`; characters; whether sums began anew.
    """
    trie, scores, unknown, unknown_score, byte_ids, _ = model
    # Of each byte: the best sum up to it, the next best, where its last piece begins, and that piece.
    best, second, back, by, _, _ = work
    # Indices are unsigned, for Numba looks at the others for whether they count from the end.
    for j in range(size + 1):
        best[np.uint64(j)] = second[np.uint64(j)] = -np.inf
    best[0] = start
    characters = 0
    restarted = False
    depth = np.float32(0)
    here_at = reached = np.int64(0)  # the character in question; the furthest byte with a sum
    while here_at < size:
        here = best[np.uint64(here_at)]
        depth = max(depth, abs(here - start))
        if here < RESTART:  # as the library does: this sum becomes 0, and those already found ahead are moved along
            for j in range(here_at + 1, reached + 1):
                best[j] -= here
            here = np.float32(0)
            best[here_at] = here
            restarted = True
        lead = text[np.uint64(begin + here_at)]
        step = min(1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0), size - here_at)
        single = False
        base = np.int64(ROOT)
        j = here_at
        while j < size:
            slot = child(trie, base, np.int64(text[np.uint64(begin + j)]))
            if slot == 0:
                break
            j += 1
            # No branches from here on, for the processor would guess half of them wrong. Where no piece ends, the candidate is minus
            # infinity, `scores[0]`, and loses. A tie keeps the older piece, the longer one, as the library does.
            piece, place = slot & MASK, np.uint64(j)  # piece + 1
            candidate, old = scores[np.uint64(piece)] + here, best[place]
            better = candidate > old
            second[place] = max(second[place], old if better else candidate)
            best[place] = candidate if better else old
            back[place] = here_at if better else back[place]
            by[place] = piece - 1 if better else by[place]
            single |= (piece != 0) & (j - here_at == step)
            base = slot >> BASE & MASK
        if not single:  # no piece is this character alone: it may be unknown
            j, place = here_at + step, np.uint64(here_at + step)
            rounded = np.float32(unknown_score + here)
            if rounded > best[place]:
                second[place], best[place], back[place], by[place] = best[place], rounded, here_at, unknown
            elif rounded > second[place]:
                second[place] = rounded
        reached = max(reached, j)
        characters += 1
        here_at += step

    first = at
    lead_of_best = np.float32(np.inf)
    j = np.int64(size)
    while j > 0:  # the pieces from the last to the first; then the ids are turned round
        lead_of_best = min(lead_of_best, best[j] - second[j])
        if by[j] != unknown:
            ids[at] = by[j]
            at += 1
        elif len(byte_ids):
            for i in range(j - 1, back[j] - 1, -1):
                ids[at] = byte_ids[text[begin + i]]
                at += 1
        elif at == first or ids[at - 1] != joined:
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
def _find_stops(size, count, model, work):
    """Writes to `work` the byte where each of the tokens ends that `_best_path` found, so many, in a unit of so many bytes."""
    _, _, back, by, stops, _ = work
    j, at = size, count
    while j > 0:
        at -= 1
        stops[at] = j  # the last of the bytes of an unknown character has all of it
        if by[j] == model[2] and len(model[4]):
            for _ in range(j - back[j] - 1):
                at -= 1
                stops[at] = back[j]
        j = np.int64(back[j])


@njit(nogil=True, inline="always")
def _certain_up_to(lead, depth, characters, restarted, first, at, ids, unknown, joins):
    """Gives the absolute value of a sum before a unit up to which rounding decides nothing and sums do not begin anew, in `_PARTS`.

    For `lead`, `depth`, `characters` and `restarted` see `_best_path`; the ids of the unit lie in `ids` from `first` to `at`. Where they
    join, one id of an unknown character stands for any number, so that sums cannot be had from ids.
    """
    if restarted:  # where it would begin anew depends on the sum before it
        return np.int64(0)
    for i in range(first, at):
        if joins and ids[i] == unknown:
            return np.int64(0)
    # Two sums are compared, each off by half the spacing of floats of its size for each character, and so are those here. The way that
    # leads by `lead` stays best while (characters + 2) * ulp * size < lead; sizes are up to `depth` beyond the sum before the unit. A
    # hundredth is left for the rounding of this formula.
    certain = min(0.99 * lead / ((characters + 2) * _ULP) - 2 * depth, -RESTART - 1 - depth)
    return np.int64(max(certain, 0.0) * _PARTS)


@njit(nogil=True)
def _segment(text, start, length, key, size, slot, keeps, spelling, spelled, total, model, lead, flag, spans, work, out, at, place, table):
    """Segments a normalised unit at the sum before it, and keeps it as it is at the beginning of a document.

    Ids are written to `out` from `place` on, and are kept from `at` on.

    Returns:
      where they end, and the sum behind them.
    """
    slots, ids, store, sizes = table
    scores, bits, joined, origins = model[5], bits_of(spans), joined_of(spans, model[2], model[4]), work[5]
    if keeps:
        end, _, ahead, depth, characters, restarted = _best_path(spelling, 0, spelled, np.float32(0), model, joined, work, out, place)
        certain = _certain_up_to(ahead, depth, characters, restarted, place, end, out, model[2], len(model[4]) == 0)
        if spans:
            _find_stops(spelled, end - place, model, work)
            add_steps(out, place, end, flag, lead, work[4], origins)
        if end - at <= MOST_IDS:
            keep_unit(text, start, length, key, size, slot, out, at, end - at, slots, ids, store, sizes)
            mark(slots, slot, certain)
        if abs(total) * np.float32(_PARTS) < certain:
            for i in range(place, end):
                total += scores[out[i] & bits]
            return end, total
    end, total, _, _, _, _ = _best_path(spelling, 0, spelled, total, model, joined, work, out, place)
    if spans:
        _find_stops(spelled, end - place, model, work)
        add_steps(out, place, end, flag, lead, work[4], origins)
    return end, total


def make_encode(*, spans):
    """Makes `encode`, or the one of words with spans; see `bpe.make_encode`."""

    def encode(text, starts, first, normalizer, model, lead, table, progress, sums, looks_up, batch, spelling, work, out, counts):  # noqa: D417
        """Encodes documents by the best segmentations of their units (Viterbi; Kudo 2018).

        What is not listed is as for `bpe.encode`.

        Args:
          model: a tuple: what `build_trie` gives; [1 + pieces] float32, minus infinity and the scores; int32 id and float32 score of an
            unknown character; [256] int32 the pieces of bytes, or empty: then unknown characters side by side become one id, but not in
            words; [pieces + 1] float32 scores, with that of an unknown character at its first byte, and 0 for the lead.
          sums: [1] float32, written to: the sum of scores where it goes on; 0 at first.
          work: of each byte of a normalised unit, and one more: the best sum up to it and the next best (float32), where its last piece
            begins, and that piece (int32); then ends of tokens and origins of bytes (int32), as many; written to.

        Returns:
          as `bpe.encode` does.
        """
        slots, ids, store, sizes = table
        token_scores, mask, bits, origins = model[5], mask_of(slots), bits_of(spans), work[5]
        joined = joined_of(spans, model[2], model[4])
        joins = joined != NO_ID
        document, unit, at, first_at, new = progress[0], progress[1], progress[2], progress[3], progress[4]
        total, status = sums[0], DONE
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
                kept, found, slot, count = looks_up and length <= MOST_KEPT, False, np.uint64(0), np.int64(-1)
                key, size = np.uint64(0), np.uint64(0)
                if at + MOST_IDS > len(out):
                    status = NARROW
                    break
                if kept:
                    j = np.uint64(3 * (unit - begin))
                    key, size = batch[j], batch[j + ONE]
                    slot = find_slot(text, start, length, key, size, batch[j + _TWO], mask, slots, store)
                    count = read_ids(slots, slot, ids, out, at)
                    found = count >= 0
                    if found and abs(total) * np.float32(_PARTS) >= mark_of(slots, slot):
                        count = np.int64(-1)
                if count >= 0:
                    for i in range(at, at + count):  # token by token, rounded as the library's sum is
                        total += token_scores[out[i] & bits]
                else:
                    if not found and not has_room(slots, ids, store, sizes):
                        status = FULL
                        break
                    spelled = normalize_unit(text, start, start + length, flag, normalizer, spelling, origins, spans)
                    if spelled < 0 or at + spelled + MOST_IDS > len(out):
                        status = NARROW
                        break
                    keeps, place = kept and not found, at + np.int64(spans and flag & FIRST != 0)
                    end, total = _segment(
                        text,
                        start,
                        length,
                        key,
                        size,
                        slot,
                        keeps,
                        spelling,
                        spelled,
                        total,
                        model,
                        lead,
                        flag,
                        spans,
                        work,
                        out,
                        at,
                        place,
                        table,
                    )
                    count = end - at
                    new += not found
                if joins and count > 0 and at > first_at and out[at] == joined and out[at - 1] == joined:
                    count -= 1
                    for i in range(count):
                        out[at + i] = out[at + i + 1]
                at += count
                unit += 1
            if status == DONE:
                counts[document] = at - first_at
                first_at, total = at, np.float32(0)
                document += 1
        progress[0], progress[1], progress[2], progress[3], progress[4] = document, unit, at, first_at, new
        sums[0] = total
        return status

    if spans:
        encode.__qualname__ = "encode_with_spans"
    return kernel(_ENCODE, counts_arrays=False)(encode)


encode = make_encode(spans=False)
