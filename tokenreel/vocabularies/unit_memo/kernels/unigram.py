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

# What segments: trie, minus infinity and the scores of the pieces, id and score of an unknown character, ids of bytes.
_MODEL = types.Tuple((I64, F32, types.int32, types.float32, I32))

# Segmented units: ids with bounds, normalised texts with bounds, `certain` of `segment`.
_SEGMENTED = types.Tuple((I32, I64, U8, I64, F32))


@kernel((I32, I64, F32, F32, F32, F32))
def in_doubt(entries, first, scores, certain, new_scores, new_certain):
    """Tells in which documents the rounding of sums may decide a unit otherwise than at the beginning of a document; see `segment`.

    Args:
      entries: [units] int32, of `units.find_units`.
      first: [n + 1] int64, of `units.cut_documents`.
      scores: [entries] float32 the sums of known units.
      certain: [entries] float32, likewise.
      new_scores: [new] float32 the sums of new units.
      new_certain: [new] float32, likewise.

    Returns:
      [n] bool.
    """
    out = np.zeros(len(first) - 1, np.bool_)
    for document in range(len(out)):
        total = 0.0  # float64: this only bounds the library's sum, which a float32 rounds at each character
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            # The size that the library's sum may have here: rounding adds less than a thousandth, and sums below `RESTART` begin anew.
            reach = min(abs(total) * 1.001 + 1, -1.001 * RESTART)
            if entry >= 0:
                total += scores[entry]
                doubt = certain[entry] < reach
            else:
                total += new_scores[-1 - entry]
                doubt = new_certain[-1 - entry] < reach
            if doubt and unit > first[document]:  # the first one has the sum 0 before it, as in `segment`
                out[document] = True
                break
    return out


@njit(nogil=True)
def _make_work(size):
    """Gives the arrays in which `_best_path` takes notes, for texts of at most `size` bytes: two of float32, two of int32."""
    return np.empty(size + 1, np.float32), np.empty(size + 1, np.float32), np.empty(size + 1, np.int32), np.empty(size + 1, np.int32)


@njit(nogil=True)
def _best_path(text, begin, size, start, model, work, ids, at):
    """Writes the best segmentation of one text, behind a sum of scores, to `ids` from `at` on; see `segment`.

    Args:
      text: [bytes] uint8.
      begin: the text's first byte in it.
      size: the text's bytes.
      start: float32, the sum of scores before it.
      model: as for `segment`.
      work: what `_make_work` gives, for texts of at least this size.
      ids: int32, written to.
      at: where to write.

    Returns:
      where the ids end; the sum at the end; the least lead that the best way to a character of the path has over the next best; the largest
      distance of a sum from `start`; characters; whether sums began anew.
    """
    trie, scores, unknown, unknown_score, byte_ids = model
    best, second, back, by = work  # of each byte: the best sum up to it, the next best, where its last piece begins, and that piece
    for j in range(size + 1):
        best[j] = second[j] = -np.inf
    best[0] = start
    characters = 0
    restarted = False
    depth = np.float32(0)
    here_at = reached = np.int64(0)  # the character in question; the furthest byte with a sum
    while here_at < size:
        here = best[here_at]
        depth = max(depth, abs(here - start))
        if here < RESTART:  # as the library does: this sum becomes 0, and those already found ahead are moved along
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
            # No branches from here on, for the processor would guess half of them wrong. Where no piece ends, the candidate is minus
            # infinity, `scores[0]`, and loses. A tie keeps the older piece, the longer one, as the library does.
            piece = slot & MASK  # + 1
            candidate, old = scores[piece] + here, best[j]
            better = candidate > old
            second[j] = max(second[j], old if better else candidate)
            best[j] = candidate if better else old
            back[j] = here_at if better else back[j]
            by[j] = piece - 1 if better else by[j]
            single |= (piece != 0) & (j - here_at == step)
            base = slot >> BASE & MASK
        if not single:  # no piece is this character alone: it may be unknown
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
    while j > 0:  # the pieces from the last to the first; then the ids are turned round
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


@kernel((U8, I64, _MODEL))
def segment(text, bounds, model):
    """Finds the best segmentations of normalised texts by a unigram model (Viterbi; Kudo 2018), rounded as the library rounds.

    The library adds scores from the beginning of a document, in float32, so segmentations that are nearly as good as each other are decided
    by rounding. The result is the library's at the beginning of a document. Elsewhere it is the library's if the best way to each character
    of the path leads by more than rounding can make up for.

    Args:
      text: [bytes] uint8, texts end to end.
      bounds: [n + 1] int64.
      model: a tuple: what `build_trie` gives; [1 + pieces] float32, minus infinity and the scores; int32 id and float32 score of an unknown
        character; [256] int32 the pieces of bytes, or empty: then unknown characters side by side become one.

    Returns:
      ids (int32) end to end, [n + 1] int64 bounds, [n] float32 the sums of scores, and [n] float32 the absolute value of a sum before the
      text up to which rounding decides nothing and sums do not begin anew.
    """
    most = np.int64(0)
    for k in range(len(bounds) - 1):
        most = max(most, bounds[k + 1] - bounds[k])
    work, unknown, byte_ids = _make_work(most), model[2], model[4]
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
            certain[k] = -1  # never: where it would begin anew depends on the sum before it
        else:
            # Two sums are compared, each off by half the spacing of floats of its size for each character, and so are those here. The way
            # that leads by `gap` stays best while (characters + 2) * ulp * size < gap; sizes are up to `depth` beyond the sum before the
            # text. A hundredth is left for the rounding of this formula.
            certain[k] = min(0.99 * gap / ((characters + 2) * _ULP) - 2 * depth, -RESTART - 1 - depth)
        # One token stands for any number of unknown characters, so that sums cannot be had from tokens. Bytes tell.
        if not len(byte_ids):
            for i in range(before, at):
                if ids[i] == unknown:
                    certain[k] = -1
    return ids[:at].copy(), id_bounds, sums, certain


@kernel((I64, I32, I64, _SEGMENTED, _SEGMENTED, _MODEL, F32))
def segment_again(documents, entries, first, known, new, model, token_scores):
    """Encodes documents of which `in_doubt` says that rounding may matter: adds up their tokens' scores, and decides units at their sums.

    Args:
      documents: [k] int64.
      entries: [units] int32, of `units.find_units`.
      first: [n + 1] int64, of `units.cut_documents`.
      known: a tuple of the table's units: int32 ids with [entries + 1] int64 bounds, uint8 normalised texts with such bounds, and [entries]
        float32 the last result of `segment`.
      new: units that are not in the table, likewise.
      model: as for `segment`.
      token_scores: [pieces] float32, with the score of an unknown character at its first byte.

    Returns:
      ids (int32) end to end, and the [k] int64 number of ids of each document.
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
    work = _make_work(most)
    out, counts = np.empty(room, np.int32), np.zeros(len(documents), np.int64)
    at = np.int64(0)
    for k in range(len(documents)):
        total = np.float32(0)  # added token by token in float32, rounded as the library's is
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
