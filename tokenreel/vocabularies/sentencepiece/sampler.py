"""Draws segmentations of texts from a SentencePiece model, with random bits that are given: subword regularisation and BPE dropout.

SentencePiece's own sampling draws differently in every process, even with one seed (0.2.3), so it makes no dataset that can be made again.
Here every choice has a name, the bytes of the document at which it falls, and its bits come from the document's random word and that name
(`keys.words_at`). So it depends neither on other choices, nor on other documents, nor on who makes it.

Texts are normalised by the library, then cut into units between which no piece lies (see `model.find_cuts`, which does so before
normalisation). Units are independent of each other: all of them are sampled at once, one step each at a time.
"""

from __future__ import annotations

import decimal
import functools
import heapq
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.errors import VocabularyError
from tokenreel.ragged import Ints
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.sentencepiece.model import BPE, BYTE, NORMAL, SPACE_SYMBOL, UNIGRAM, UNKNOWN, UNUSED, USER_DEFINED
from tokenreel.vocabularies.sentencepiece.units import Units, cut_units

VERSION = "segmentation-1"
_SLICE_BYTES = 4 << 20  # text sampled at once
_SPACE, _END = 0xFF, 0xFE  # stand for U+2581 and for the end of a unit: one byte each, in no UTF-8
_UNK_PENALTY = 10.0  # of an unknown character, below the lowest score (SentencePiece's `kUnkPenalty`)
_LONG_UNIT = 64  # symbols; from here on a heap is quicker than whole arrays
_LONGEST_PIECE = 1 << 12  # bytes, for the names of choices
_ALWAYS = 2**64 - 1  # threshold of a merge that is surely left out
_NONE = np.int32(2**31 - 1)  # rank of a pair that does not merge


class SegmentationSampler:
    """Samples with one model. Holds nothing that changes; threads may share it."""

    def __init__(self, data: bytes) -> None:
        """Reads a .model file.

        Raises:
          VocabularyError: no segmentation can be drawn from this kind of model.
        """
        self._model = model = sentencepiece_model.parse(data)
        if model.kind not in (UNIGRAM, BPE):
            raise VocabularyError("vocabulary.sampling: this model cannot sample, for its texts have one segmentation. Use unigram or BPE.")
        if model.kind == BPE and (model.types == UNUSED).any():
            raise VocabularyError(
                "vocabulary.sampling: this BPE model has pieces of type UNUSED, through which merges would have to be undone"
            )
        self._pieces = [piece.replace(SPACE_SYMBOL, bytes([_SPACE])) for piece in model.pieces]
        used = np.isin(model.types, (NORMAL, USER_DEFINED))
        self._used = [(i, self._pieces[i]) for i in np.flatnonzero(used).tolist() if self._pieces[i]]
        if max(len(piece) for _, piece in self._used) >= _LONGEST_PIECE:
            raise VocabularyError(f"vocabulary.sampling: this model has a piece of {_LONGEST_PIECE:,} bytes or more")
        self._unk_id = int(np.flatnonzero(model.types == UNKNOWN)[0])
        self._byte_ids = np.zeros(256, dtype=np.int32)
        for i in np.flatnonzero(model.types == BYTE).tolist():
            self._byte_ids[int(model.pieces[i][3:5], 16)] = i
        joined = np.frombuffer(bytes([_END]).join([b"", *(piece for _, piece in self._used), b""]), dtype=np.uint8)
        self._cut = np.ones((256, 256), dtype=bool)  # whether no piece holds two bytes side by side
        self._cut[joined[:-1], joined[1:]] = False
        self._cut[:, 0x80:0xC0] = False

    @property
    def is_unigram(self) -> bool:
        """Whether the model is a unigram model; otherwise it is BPE."""
        return self._model.kind == UNIGRAM

    def sample(self, texts: Sequence[bytes], words: npt.NDArray[np.uint64], alpha: float) -> tuple[npt.NDArray[np.int32], Ints]:
        """Draws a segmentation of each text.

        Args:
          texts: [n] as the model's normaliser leaves them.
          words: [n] uint64 what the bits of each are made from.
          alpha: unigram: segmentations are drawn with probabilities proportional to the model's to the power of alpha. BPE: each merge is
            left out with this probability.

        Returns:
          int32 ids end to end, and the [n] int64 number of ids of each text.
        """
        short = [text.replace(SPACE_SYMBOL, bytes([_SPACE])) for text in texts]
        offsets = ragged.offsets_of(np.fromiter(map(len, short), dtype=np.int64, count=len(short)))
        parts = [(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64))]
        for start, stop in ragged.portions(offsets, _SLICE_BYTES):
            text = np.frombuffer(b"".join(short[start:stop]), dtype=np.uint8)
            bounds = offsets[start : stop + 1] - offsets[start]
            if len(text):
                draw = self._draw_unigram if self.is_unigram else self._draw_bpe
                parts.append(self._to_ids(*draw(cut_units(text, bounds, self._cut), words[start:stop], alpha), text, bounds))
            else:
                parts.append((np.zeros(0, dtype=np.int32), np.zeros(stop - start, dtype=np.int64)))
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([lengths for _, lengths in parts])

    def _to_ids(self, pieces: Ints, at: Ints, text: npt.NDArray[np.uint8], offsets: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
        """Turns pieces (-1 is an unknown character) and the bytes at which they begin into ids."""
        unknown = pieces < 0
        if not unknown.any():
            return pieces.astype(np.int32), np.diff(np.searchsorted(at, offsets))
        if not self._model.byte_fallback:  # unknown characters side by side are one token
            pieces = np.where(unknown, self._unk_id, pieces)
            document = np.searchsorted(offsets, at, side="right")
            keep = np.ones(len(pieces), dtype=bool)
            keep[1:] = ~(unknown[1:] & unknown[:-1] & (document[1:] == document[:-1]))
            return pieces[keep].astype(np.int32), np.diff(np.searchsorted(at[keep], offsets))
        counts = np.ones(len(pieces), dtype=np.int64)
        counts[unknown] = np.where(text[at[unknown]] == _SPACE, len(SPACE_SYMBOL), np.diff(np.append(at, len(text)))[unknown])
        ends = np.cumsum(counts)
        token = np.repeat(np.arange(len(pieces)), counts)
        place = np.arange(len(token)) - (ends - counts)[token]
        first = text[at[token]]
        byte = text[np.minimum(at[token] + place, len(text) - 1)]
        byte = np.where(first == _SPACE, np.frombuffer(SPACE_SYMBOL, dtype=np.uint8)[np.minimum(place, 2)], byte)
        ids = np.where(unknown[token], self._byte_ids[byte], pieces[token]).astype(np.int32)
        return ids, np.diff(np.searchsorted(at[token], offsets))

    # Unigram: forward filtering, backward sampling, as in Kudo (2018), appendix A.

    @functools.cached_property
    def _trie(self) -> tuple[Ints, Ints, Ints]:
        """A trie: int64 transitions, sorted by (node << 8 | byte), where each leads, and [nodes] the piece that ends at a node, or -1."""
        children: dict[int, int] = {}
        ends: dict[int, int] = {}
        for i, piece in self._used:
            node = 0
            for byte in piece:
                node = children.setdefault(node << 8 | byte, len(children) + 1)
            ends.setdefault(node, i)
        transitions = np.array(sorted(children), dtype=np.int64)
        piece_at = np.full(len(children) + 1, -1, dtype=np.int64)
        piece_at[list(ends)] = list(ends.values())
        return transitions, np.array([children[key] for key in transitions.tolist()], dtype=np.int64), piece_at

    @functools.lru_cache(maxsize=4)  # noqa: B019, for few models are loaded, and each lives as long as its process
    def _weights(self, alpha: float) -> tuple[npt.NDArray[np.float64], Ints]:
        """Computes exp(alpha * score) of each piece and, last, of an unknown character: [pieces + 1] mantissas and exponents of 2.

        Through decimal numbers, whose exp is rounded the same everywhere; NumPy's differs from processor to processor in the last bit.
        """
        model = self._model
        normal = model.scores[model.types == NORMAL].astype(np.float64)
        scores = model.scores.astype(np.float64)
        for i in np.flatnonzero(model.types == USER_DEFINED).tolist():  # they receive a bonus, to be chosen nearly always
            scores[i] = len(model.pieces[i].decode()) * float(normal.max()) - 0.1
        scores = np.append(scores, float(normal.min()) - _UNK_PENALTY)
        distinct, which = np.unique(scores, return_inverse=True)
        mantissas, exponents = np.zeros(len(distinct)), np.zeros(len(distinct), dtype=np.int64)
        with decimal.localcontext(decimal.Context(prec=30)):
            log2 = decimal.Decimal(2).ln()
            for i, score in enumerate(distinct.tolist()):
                log = decimal.Decimal(alpha) * decimal.Decimal(score)
                exponent = int((log / log2).to_integral_value(decimal.ROUND_FLOOR))
                mantissas[i] = float((log - exponent * log2).exp() / 2)
                exponents[i] = exponent + 1
        return mantissas[which], exponents[which]

    def _edges(self, text: npt.NDArray[np.uint8]) -> tuple[Ints, Ints, Ints]:
        """Finds all pieces in units that each end with `_END`, one byte further of all places at a time.

        Returns:
          int64 [edges] the first byte of each piece, the byte behind its last, and the piece (-1 for an unknown character).
        """
        transitions, targets, piece_at = self._trie
        starts = np.flatnonzero(((text < 0x80) | (text >= 0xC0)) & (text != _END))
        following = np.flatnonzero((text < 0x80) | (text >= 0xC0))
        character_end = following[np.searchsorted(following, starts) + 1]
        found: list[tuple[Ints, Ints, Ints]] = []
        at, node, depth = starts, np.zeros(len(starts), dtype=np.int64), 0
        while len(at):
            key = node << 8 | text[at + depth]
            place = np.minimum(np.searchsorted(transitions, key), len(transitions) - 1)
            alive = transitions[place] == key
            at, node, depth = at[alive], targets[place[alive]], depth + 1
            ends = np.flatnonzero(piece_at[node] >= 0)
            found.append((at[ends], at[ends] + depth, piece_at[node[ends]]))
            inside = at + depth < len(text)
            at, node = at[inside], node[inside]
        begin, end, piece = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        known = np.zeros(len(text) + 1, dtype=bool)
        index = np.searchsorted(starts, begin)
        known[begin[end == character_end[index]]] = True
        unknown = np.flatnonzero(~known[starts])
        return (
            np.concatenate([begin, starts[unknown]]),
            np.concatenate([end, character_end[unknown]]),
            np.concatenate([piece, np.full(len(unknown), -1)]),
        )

    def _lattice(self, text: npt.NDArray[np.uint8], unit_starts: Ints, alpha: float) -> tuple[npt.NDArray[np.uint64], Ints, Ints]:
        """Weighs the choices among the pieces that end at a byte, given that what follows it is fixed.

        Returns:
          [edges] uint64 sorted `end << 33 | bound`, where bounds divide 2**32 among the pieces that end at one byte; [edges] int64 where
          each piece begins; [edges] int64 which it is.
        """
        begin, end, piece = self._edges(text)
        mantissa, exponent = self._weights(alpha)
        depth = end - unit_starts[np.searchsorted(unit_starts, begin, side="right") - 1]
        order = np.lexsort((piece, begin, end, depth))
        begin, end, piece, depth = begin[order], end[order], piece[order], depth[order]
        weight_mantissa, weight_exponent = mantissa[piece], exponent[piece]  # -1 is the last
        # Sums of the weights of all segmentations up to a byte, as mantissa and exponent: a long unit has sums beyond all floats.
        sums, scale = np.full(len(text) + 1, 0.5), np.ones(len(text) + 1, dtype=np.int64)
        bounds = np.zeros(len(begin), dtype=np.uint64)
        levels = np.flatnonzero(np.diff(depth, prepend=-1))  # by bytes from the unit's first: what ends earlier is summed up already
        for first, last in itertools.pairwise([*levels.tolist(), len(begin)]):
            here = slice(first, last)
            groups = np.flatnonzero(np.diff(end[here], prepend=-1))  # of pieces that end at one byte
            counts = np.diff(np.append(groups, last - first))
            power = scale[begin[here]] + weight_exponent[here]
            top = np.maximum.reduceat(power, groups)
            term = np.ldexp(sums[begin[here]] * weight_mantissa[here], np.maximum(power - np.repeat(top, counts), -1100))
            running = np.cumsum(term)  # in sequence, so the same everywhere
            base = np.append(0.0, running[groups[1:] - 1])
            total = running[np.append(groups[1:], last - first) - 1] - base
            share = (running - np.repeat(base, counts)) / np.repeat(total, counts)
            bounds[here] = np.clip(share * 2.0**32, 0, 2.0**32).astype(np.uint64)
            bounds[first + np.append(groups[1:], last - first) - 1] = np.uint64(1 << 32)  # the last one takes what rounding left
            ends = end[here][groups]
            sums[ends], shift = np.frexp(total)
            scale[ends] = top + shift
        order = np.argsort(end, kind="stable")
        choices = (end[order].astype(np.uint64) << np.uint64(33)) + bounds[order]
        return choices, begin[order], piece[order]

    def _draw_unigram(self, units: Units, words: npt.NDArray[np.uint64], alpha: float) -> tuple[Ints, Ints]:
        """Draws by a unigram model: int64 pieces, -1 for an unknown character, and the bytes at which they begin.

        The lattice of a unit is computed once, however often the unit occurs. All units walk through it side by side, from their ends to
        their beginnings, one piece at each step.
        """
        distinct, which = units.distinct()
        text = np.frombuffer(bytes([_END]).join([*distinct, b""]), dtype=np.uint8)
        lengths = np.fromiter(map(len, distinct), dtype=np.int64, count=len(distinct))
        unit_starts = ragged.offsets_of(lengths + 1)[:-1]
        choices, begins, pieces = self._lattice(text, unit_starts, alpha)
        first = unit_starts[which]
        shift = units.bounds[:-1] - first  # from the lattice's bytes to the text's
        states, names = words[units.document], units.bounds[:-1] - units.document_start
        at = first + lengths[which]  # of each unit, the byte of the lattice that it has come to
        active = np.arange(len(at))
        steps: list[tuple[Ints, Ints]] = []
        while len(active):
            now = at[active]
            bits = keys.words_at(states[active], names[active] + (now - first[active])) >> np.uint64(32)
            edge = np.searchsorted(choices, (now.astype(np.uint64) << np.uint64(33)) + bits, side="right")
            steps.append((active, edge))
            at[active] = begins[edge]
            active = active[begins[edge] > first[active]]
        # Backwards found: the last piece of every unit came first.
        counts = np.bincount(np.concatenate([active for active, _ in steps]), minlength=len(at))
        last = np.cumsum(counts) - 1
        edges = np.zeros(int(counts.sum()), dtype=np.int64)
        for number, (active, edge) in enumerate(steps):
            edges[last[active] - number] = edge
        return pieces[edges], begins[edges] + np.repeat(shift, counts)

    # BPE dropout as SentencePiece does it: of the pairs of symbols that can merge, the one with the best score is next, the leftmost of
    # equals; it is left out with probability alpha, for good. That is decided here as soon as two symbols become neighbours.

    @functools.cached_property
    def _merges(self) -> tuple[dict[bytes, int], Ints, npt.NDArray[np.int32], Ints]:
        """Symbols by their bytes, and what merges: int64 sorted `left << 32 | right`, int32 rank of the piece that they make, that piece.

        Characters that only occur within pieces are symbols too, with numbers behind the pieces. User-defined pieces merge with nothing.
        """
        normal = [(i, piece) for i, piece in self._used if self._model.types[i] == NORMAL]
        symbols = {piece: i for i, piece in reversed(normal)}
        for _, piece in normal:
            for character in _characters(piece):
                symbols.setdefault(character, len(self._pieces) + len(symbols))
        _, ranks = np.unique(-self._model.scores, return_inverse=True)
        merges: dict[int, tuple[int, int]] = {}
        for i, piece in normal:
            for cut in range(1, len(piece)):
                left, right = symbols.get(piece[:cut]), symbols.get(piece[cut:])
                if left is not None and right is not None:
                    merges.setdefault(left << 32 | right, (int(ranks[i]), i))
        order = sorted(merges)
        values = np.array([merges[key] for key in order], dtype=np.int64).reshape(-1, 2)
        return symbols, np.array(order, dtype=np.int64), values[:, 0].astype(np.int32), values[:, 1]

    def _symbols(self, units: Units) -> tuple[Ints, Ints]:
        """Cuts units into characters and user-defined pieces: int64 symbols, -1 where a character is unknown, and their first bytes."""
        text = units.text
        at = np.flatnonzero((text < 0x80) | (text >= 0xC0))
        padded = np.append(text, np.zeros(4, dtype=np.uint8)).astype(np.int64)
        length = np.diff(np.append(at, len(text)))
        packed = sum((np.where(length > i, padded[at + i], 0) << (8 * i) for i in range(4)), np.zeros(len(at), dtype=np.int64))
        distinct, which = np.unique(packed, return_inverse=True)
        symbols = self._merges[0]
        keys_ = (value.to_bytes(4, "little").rstrip(b"\0") or b"\0" for value in distinct.tolist())
        symbol = np.array([symbols.get(character, -1) for character in keys_], dtype=np.int64)[which]
        frozen = {self._pieces[i]: i for i in np.flatnonzero(self._model.types == USER_DEFINED).tolist()}
        if frozen:
            pattern = re.compile(b"|".join(map(re.escape, sorted(frozen, key=len, reverse=True))))
            ended, ended_bounds = ragged.surround(text, units.bounds, None, _END)
            found = [(m.start(), m.end(), frozen[m.group()]) for m in pattern.finditer(ended.tobytes())]
            begin, end, piece = np.array(found, dtype=np.int64).reshape(-1, 3).T
            unit = np.searchsorted(ended_bounds, begin, side="right") - 1
            first, last = np.searchsorted(at, begin - unit), np.searchsorted(at, end - unit)
            symbol[first] = piece
            inside = np.zeros(len(at) + 1, dtype=np.int64)
            np.add.at(inside, first + 1, 1)
            np.add.at(inside, last, -1)
            keep = np.cumsum(inside[:-1]) == 0
            at, symbol = at[keep], symbol[keep]
        return symbol, at

    def _draw_bpe(self, units: Units, words: npt.NDArray[np.uint64], alpha: float) -> tuple[Ints, Ints]:
        """Draws by BPE dropout: int64 pieces, -1 for an unknown character, and the bytes at which they begin.

        Units of about one length are merged side by side, those of more than `_LONG_UNIT` symbols one by one.
        """
        symbol, at = self._symbols(units)
        first = np.searchsorted(at, units.bounds)
        counts = np.diff(first)
        states = words[units.document]
        threshold = keys.threshold(alpha)
        done = np.flatnonzero(counts == 1)
        pieces, places = [symbol[first[done]]], [at[first[done]]]
        width, most = 2, 1
        while most < min(_LONG_UNIT, int(counts.max())):
            rows = np.flatnonzero((counts > most) & (counts <= width))
            column = np.arange(width)
            real = column < counts[rows][:, None]
            index = np.minimum(first[rows][:, None] + column, len(at) - 1)
            ids = np.where(real, symbol[index], -2)
            ends = units.bounds[rows + 1]
            begins = np.where(
                np.append(real, np.zeros((len(rows), 1), dtype=bool), axis=1), at[np.append(index, index[:, -1:], axis=1)], ends[:, None]
            )
            for found, where in self._merge_rows(ids, begins, states[rows], units.document_start[rows], threshold):
                pieces.append(found)
                places.append(where)
            width, most = 2 * width, width
        for unit in np.flatnonzero(counts > _LONG_UNIT).tolist():
            here = slice(int(first[unit]), int(first[unit + 1]))
            one, start = self._merge_long(
                symbol[here].tolist(),
                [*at[here].tolist(), int(units.bounds[unit + 1])],
                int(states[unit]),
                int(units.document_start[unit]),
                threshold,
            )
            pieces.append(np.array(one, dtype=np.int64))
            places.append(np.array(start, dtype=np.int64))
        piece, place = np.concatenate(pieces), np.concatenate(places)
        order = np.argsort(place, kind="stable")
        piece = piece[order]
        return np.where(piece < len(self._pieces), piece, -1), place[order]

    def _rank(
        self, left: Ints, right: Ints, states: npt.NDArray[np.uint64], names: Ints, threshold: int
    ) -> tuple[npt.NDArray[np.int32], Ints]:
        """Gives the int32 rank of each pair of neighbours, `_NONE` if it stays apart, and the piece that it makes."""
        _, pairs, ranks, merged = self._merges
        key = np.where((left >= 0) & (right >= 0), left << 32 | right, -1)
        place = np.minimum(np.searchsorted(pairs, key), len(pairs) - 1)
        merges = np.flatnonzero(pairs[place] == key)
        rank = np.full(len(key), _NONE, dtype=np.int32)
        if threshold < _ALWAYS:
            kept = merges[keys.words_at(states[merges], names[merges]) >= np.uint64(threshold)]
            rank[kept] = ranks[place[kept]]
        return rank, merged[place]

    def _merge_rows(
        self, ids: Ints, begins: Ints, states: npt.NDArray[np.uint64], starts: Ints, threshold: int
    ) -> Iterator[tuple[Ints, Ints]]:
        """Merges units side by side, one pair of each at a time; yields symbols and their first bytes as units become final.

        Args:
          ids: [units, width] symbols; -2 behind the last.
          begins: [units, width + 1] their first bytes; where the unit ends behind the last.
          states: [units] of their documents.
          starts: [units] where those begin.
          threshold: of the bits below which a merge is left out.
        """
        width = ids.shape[1]
        column = np.arange(width - 1)

        def rank(row: Ints, place: Ints) -> tuple[npt.NDArray[np.int32], Ints]:
            begin, middle, end = (begins[row, place + i] - starts[row] for i in range(3))
            return self._rank(ids[row, place], ids[row, place + 1], states[row], _name(begin, middle, end), threshold)

        row, place = (axis.ravel() for axis in np.indices((len(ids), width - 1)))
        ranks, made = (values.reshape(len(ids), width - 1) for values in rank(row, place))
        while len(ids):
            every = np.arange(len(ids))
            best = ranks.argmin(axis=1)  # the leftmost of equals
            final = ranks[every, best] == _NONE
            if final.any():
                real = ids[final] != -2
                yield ids[final][real], begins[final][:, :-1][real]
                keep = ~final
                ids, begins, ranks, made, best = ids[keep], begins[keep], ranks[keep], made[keep], best[keep]
                states, starts, every = states[keep], starts[keep], np.arange(int(keep.sum()))
            ids[every, best] = made[every, best]
            behind = column >= best[:, None] + 1
            ids[:, 1:] = np.where(column >= best[:, None], np.append(ids[:, 2:], np.full((len(ids), 1), -2), axis=1), ids[:, 1:])
            begins[:, 1:] = np.where(np.arange(width) >= best[:, None], np.append(begins[:, 2:], begins[:, -1:], axis=1), begins[:, 1:])
            for values, filler in ((ranks, _NONE), (made, 0)):
                moved = np.append(values[:, 1:], np.full((len(ids), 1), filler, dtype=values.dtype), axis=1)
                values[:] = np.where(behind, moved, values)
            # The merged symbol has new neighbours on both sides.
            for place, row in ((best - 1, every[best > 0]), (best, every[best < width - 1])):
                ranks[row, place[row]], made[row, place[row]] = rank(row, place[row])

    def _merge_long(self, ids: list[int], begins: list[int], state: int, start: int, threshold: int) -> tuple[list[int], list[int]]:
        """Merges one long unit with a heap and linked lists, to what `_merge_rows` would make of it."""
        pairs, ranks, merged = self._merges_by_pair
        following, previous = list(range(1, len(ids) + 1)), list(range(-1, len(ids) - 1))
        heap: list[tuple[int, int, int, int, int]] = []

        def add(left: int, right: int) -> None:
            if left < 0 or right >= len(ids) or ids[left] < 0 or ids[right] < 0:
                return
            found = pairs.get(ids[left] << 32 | ids[right])
            begin, middle, end = begins[left] - start, begins[right] - start, begins[following[right]] - start
            if found is None or threshold == _ALWAYS or _word(state, _name(begin, middle, end)) < threshold:
                return
            heapq.heappush(heap, (ranks[found], left, right, end, merged[found]))

        for i in range(len(ids) - 1):
            add(i, i + 1)
        alive = [True] * len(ids)
        while heap:
            _, left, right, end, piece = heapq.heappop(heap)
            # Entries are not removed from the heap when a neighbour merges: this one is out of date.
            if not alive[left] or following[left] != right or not alive[right] or begins[following[right]] - start != end:
                continue
            ids[left], alive[right] = piece, False
            following[left] = following[right]
            if following[left] < len(ids):
                previous[following[left]] = left
            add(previous[left], left)
            add(left, following[left])
        kept = [i for i in range(len(ids)) if alive[i]]
        return [ids[i] for i in kept], [begins[i] for i in kept]

    @functools.cached_property
    def _merges_by_pair(self) -> tuple[dict[int, int], list[int], list[int]]:
        _, pairs, ranks, merged = self._merges
        return {pair: i for i, pair in enumerate(pairs.tolist())}, ranks.tolist(), merged.tolist()


@functools.lru_cache(maxsize=4)
def load(data: bytes) -> SegmentationSampler:
    """Reads a .model file once for all threads of this process; see `SegmentationSampler`."""
    return SegmentationSampler(data)


def _characters(piece: bytes) -> list[bytes]:
    """Cuts UTF-8 into characters."""
    starts = [i for i, byte in enumerate(piece) if not 0x80 <= byte < 0xC0]
    return [piece[a:b] for a, b in itertools.pairwise([*starts, len(piece)])]


def _name(begin: Any, middle: Any, end: Any) -> Any:
    """Names the choice whether two symbols merge by their bytes in the document: where they begin, meet and end."""
    return begin << 24 | (middle - begin) << 12 | (end - middle)


def _word(state: int, index: int) -> int:
    """Does what `keys.words_at` does, for single numbers: ten times as fast as on arrays of one."""
    mask = 2**64 - 1
    z = (state + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)
