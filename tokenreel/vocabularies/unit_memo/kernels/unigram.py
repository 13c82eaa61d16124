"""Segments units by a unigram model, rounding as the library does."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import F32, I32, I64, U8, kernel
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child

RESTART = np.float32(-100_000.0)  # where a sum of scores is below, the library (since 0.2.3) counts on from 0

_ULP = 2.0**-23  # spacing of float32 at 1


@kernel((I32, I64, F32, F32, F32, F32))
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
        base = np.int64(ROOT)
        j = here_at
        while j < size:
            slot = child(trie, base, np.int64(text[begin + j]))
            if slot == 0:
                break
            j += 1
            piece = slot & MASK  # + 1; the rest is without branches, which the processor would guess wrong
            candidate, old = scores[piece] + here, best[j]
            better = candidate > old
            second[j] = max(second[j], old if better else candidate)
            best[j] = candidate if better else old
            back[j] = here_at if better else back[j]
            by[j] = piece - 1 if better else by[j]
            single |= (piece != 0) & (j - here_at == step)
            base = slot >> BASE & MASK
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


_MODEL = types.Tuple((I64, F32, types.int32, types.float32, I32))

_SEGMENTED = types.Tuple((I32, I64, U8, I64, F32))


@kernel((U8, I64, _MODEL))
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


@kernel((I64, I32, I64, _SEGMENTED, _SEGMENTED, _MODEL, F32))
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
