"""Encodes blocks of text with SentencePiece by looking up what was encoded before.

A block is cut wherever no piece of the vocabulary can lie across (`sentencepiece_model.find_cuts`). The parts, *units*, are encoded
independently of each other, and natural text repeats them (Zipf 1949): only distinct units not seen before are encoded, and the ids of all
others are gathered from a table. New units are encoded here by the model's own rules, if it is as the trainer makes them, else by the
library. Segmentations of a unigram model may depend on the sum of scores before them: where rounding could decide otherwise than the table
says, the scores of the document are added up as the library does it, and such units are segmented again at their sums.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel import ragged, sentencepiece_model
from tokenreel.sentencepiece_model import Cuts, Model

SLICE_BYTES = 2 << 20  # text handled at once: bounds the arrays that a block needs beside its result
TRIAL_BYTES = 256 << 10  # text on which the memo is tried

_MOST_BYTES = 1 << 31  # of a document: units are counted and placed in int32
_UNKNOWN_PENALTY = np.float32(10)  # the library's kUnkPenalty, below the lowest score

_Bytes = npt.NDArray[np.uint8]
_Integers = npt.NDArray[np.int64]
_Entries = npt.NDArray[np.int32]
_Encoded = tuple[npt.NDArray[np.int32], _Integers]


class _Units(NamedTuple):
    """Distinct units and what they are encoded as, end to end with bounds.

    Attributes:
      flags: [units] uint8, whether they begin or end a document.
      text, text_bounds: their bytes; [units + 1] int64.
      ids, id_bounds: their tokens, int32; likewise.
      spelling, spelling_bounds: unigram models: normalised bytes; likewise.
      scores: unigram models: [units] float32 sums of scores.
      certain: unigram models: [units] float32, as `unit_kernels.segment` gives them.
    """

    flags: _Bytes
    text: _Bytes
    text_bounds: _Integers
    ids: npt.NDArray[np.int32]
    id_bounds: _Integers
    spelling: _Bytes
    spelling_bounds: _Integers
    scores: npt.NDArray[np.float32]
    certain: npt.NDArray[np.float32]


_BOUNDED = {"text": "text_bounds", "ids": "id_bounds", "spelling": "spelling_bounds"}
_BOUNDS = tuple(_BOUNDED.values())
_NONE = _Units(
    flags=np.zeros(0, dtype=np.uint8),
    text=np.zeros(0, dtype=np.uint8),
    text_bounds=np.zeros(1, dtype=np.int64),
    ids=np.zeros(0, dtype=np.int32),
    id_bounds=np.zeros(1, dtype=np.int64),
    spelling=np.zeros(0, dtype=np.uint8),
    spelling_bounds=np.zeros(1, dtype=np.int64),
    scores=np.zeros(0, dtype=np.float32),
    certain=np.zeros(0, dtype=np.float32),
)


class _Table(NamedTuple):
    """What is known, as arrays with room at their ends: they are filled there, then `places` tells where to look. Nothing else changes."""

    places: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]  # of the unit at each place
    units: _Units
    size: int  # units that `places` knows

    @property
    def nbytes(self) -> int:
        """The bytes that the table and its units take."""
        return self.places.nbytes + self.hashes.nbytes + sum(array.nbytes for array in self.units) if self.size else 0

    def look_up(
        self, text: _Bytes, bounds: npt.NDArray[np.int32], hashes: npt.NDArray[np.uint64], flags: _Bytes
    ) -> tuple[_Entries, _Entries]:
        """Finds units, as `unit_kernels.cut` gives them; see `unit_kernels.look_up`."""
        from tokenreel import unit_kernels

        known = self.units
        found: tuple[_Entries, _Entries] = unit_kernels.look_up(
            self.places, self.hashes, self.size, known.text, known.text_bounds, known.flags, text, bounds, hashes, flags
        )
        return found

    def added(self, hashes: npt.NDArray[np.uint64], new: _Units, most_bytes: int) -> _Table | None:
        """The table with further units that it does not hold, in these arrays or larger ones; None if it would take more than allowed."""
        from tokenreel import unit_kernels

        count = self.size + len(hashes)
        grown = {}
        for name, old in self.units._asdict().items():
            start, added = self._used(name), getattr(new, name)
            if name in _BOUNDS:
                added = added[1:] + old[start - 1]
            grown[name] = (old, start, added)
        sizes = {name: _room(len(old), start + len(added)) for name, (old, start, added) in grown.items()}
        room = _room(len(self.places), 2 * count, power=True)
        if 12 * room + sum(sizes[name] * old.itemsize for name, (old, _, _) in grown.items()) > most_bytes:
            return None
        arrays = {}
        for name, (old, start, added) in grown.items():
            array = old
            if sizes[name] != len(old):
                array = np.empty(sizes[name], dtype=old.dtype)
                array[:start] = old[:start]
            array[start : start + len(added)] = added
            arrays[name] = array
        places, place_hashes = self.places, self.hashes
        if room != len(places):
            places, place_hashes = np.full(room, -1, dtype=np.int32), np.empty(room, dtype=np.uint64)
            unit_kernels.place(places, place_hashes, self.places, self.hashes, 0)
        unit_kernels.place(places, place_hashes, np.arange(len(hashes), dtype=np.int32), hashes, self.size)
        return _Table(places, place_hashes, _Units(**arrays), count)

    def _used(self, name: str) -> int:
        """How much of an array is filled."""
        if name in _BOUNDED:
            bounds = getattr(self.units, _BOUNDED[name])
            return int(bounds[min(self.size, len(bounds) - 1)])
        return min(self.size + (name in _BOUNDS), len(getattr(self.units, name)))  # some are empty where the model needs them not


def _room(size: int, needed: int, *, power: bool = False) -> int:
    """The size of an array that may have to grow."""
    if needed <= size:
        return size
    return 1 << max(4, (needed - 1).bit_length()) if power else max(needed, size + size // 2)


_EMPTY = _Table(np.full(1, -1, dtype=np.int32), np.zeros(1, dtype=np.uint64), _NONE, 0)


class _Unigram:
    """What a unigram model segments with, as arrays for `unit_kernels.segment`."""

    def __init__(self, model: Model) -> None:
        types, scores = model.types, model.scores
        normal = types == sentencepiece_model.NORMAL
        byte_ids = _byte_ids(model)
        unknown_score = np.float32(model.scores[normal].min() - _UNKNOWN_PENALTY)
        self._token_scores = scores.copy()
        self._token_scores[byte_ids] = unknown_score  # that of the character, at its first byte
        self._token_scores[byte_ids[0x80:0xC0]] = 0
        self._model = (
            _trie_of(model, normal),
            np.concatenate([np.array([-np.inf], dtype=np.float32), scores]),
            np.int32(np.flatnonzero(types == sentencepiece_model.UNKNOWN)[0]),
            unknown_score,
            byte_ids,
        )

    def segment(self, text: _Bytes, bounds: _Integers) -> dict[str, npt.NDArray[Any]]:
        """Segments normalised texts; gives the attributes of `_Units` that follow."""
        from tokenreel import unit_kernels

        found = unit_kernels.segment(text, bounds, self._model)
        return dict(zip(("ids", "id_bounds", "scores", "certain"), found, strict=True))

    def segment_again(self, documents: _Integers, entries: npt.NDArray[np.int32], first: _Integers, known: _Units, new: _Units) -> _Encoded:
        """Encodes documents in which rounding may decide; see `unit_kernels.segment_again`."""
        from tokenreel import unit_kernels

        units = [(u.ids, u.id_bounds, u.spelling, u.spelling_bounds, u.certain) for u in (known, new)]
        encoded: _Encoded = unit_kernels.segment_again(documents, entries, first, *units, self._model, self._token_scores)
        return encoded


class _Merges:
    """What a BPE model merges with, as arrays for `unit_kernels.merge`."""

    def __init__(self, model: Model, library: Any) -> None:
        """Reads the model; `library` is for text that is normalised already."""
        from tokenreel import unit_kernels

        pieces = _pieces_of(model, model.types == sentencepiece_model.NORMAL)
        trie = unit_kernels.build_trie(*pieces)
        self._library = library
        self._model = (
            trie,
            *unit_kernels.build_pairs(*pieces, trie),
            model.scores,
            np.int32(np.flatnonzero(model.types == sentencepiece_model.UNKNOWN)[0]),
            _byte_ids(model),
        )

    def encode(self, text: _Bytes, bounds: _Integers) -> _Encoded:
        """Encodes normalised texts; gives ids and [n + 1] bounds."""
        from tokenreel import unit_kernels

        ids, id_bounds, long = unit_kernels.merge(text, bounds, self._model)
        which = np.flatnonzero(long)
        if len(which):
            other_ids, other_lengths = _to_arrays(self._library.encode(_split(text, bounds, which), num_threads=1))
            order = np.arange(len(long), dtype=np.int32)
            order[which] = len(long) + np.arange(len(which), dtype=np.int32)
            all_bounds = np.concatenate([id_bounds, id_bounds[-1] + np.cumsum(other_lengths)])
            ids, id_bounds = unit_kernels.take(np.concatenate([ids, other_ids]), all_bounds, order)
        return ids, id_bounds


def _byte_ids(model: Model) -> npt.NDArray[np.int32]:
    """[256] the pieces of bytes; empty without byte fallback."""
    ids = np.zeros(256 if model.byte_fallback else 0, dtype=np.int32)
    for i in np.flatnonzero(model.types == sentencepiece_model.BYTE).tolist() if model.byte_fallback else ():
        ids[int(model.pieces[i][1:-1], 16)] = i
    return ids


def _split(text: _Bytes, bounds: _Integers, which: _Integers) -> list[bytes]:
    """Cuts the units `which` out of a text whose units begin at `bounds`."""
    view = memoryview(text.data)
    return [bytes(view[start:stop]) for start, stop in zip(bounds[which].tolist(), bounds[which + 1].tolist(), strict=True)]


def _pieces_of(model: Model, which: npt.NDArray[np.bool_]) -> tuple[_Bytes, _Integers, npt.NDArray[np.int32]]:
    """The bytes of some pieces in their order end to end, their bounds, and their ids."""
    order = sorted(np.flatnonzero(which).tolist(), key=model.pieces.__getitem__)
    pieces, ids = [model.pieces[i] for i in order], np.array(order, dtype=np.int32)
    sizes = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    return np.frombuffer(b"".join(pieces), dtype=np.uint8), ragged.offsets_of(sizes), ids


def _trie_of(model: Model, which: npt.NDArray[np.bool_]) -> _Integers:
    """Builds a trie of some of the pieces."""
    from tokenreel import unit_kernels

    trie: _Integers = unit_kernels.build_trie(*_pieces_of(model, which))
    return trie


class UnitMemo:
    """Encodes documents with one model. Threads share it; ids do not depend on what it holds.

    Attributes:
      encoded_bytes: text that was encoded; the rest was looked up.
    """

    def __init__(self, data: bytes, model: Model, cuts: Cuts, memo_bytes: int) -> None:
        """Loads the model.

        Args:
          data: of the .model file.
          model: what it says.
          cuts: from `find_cuts`.
          memo_bytes: most memory for the memo. When it is full it is emptied, and fills again.
        """
        import sentencepiece

        load = sentencepiece.SentencePieceProcessor
        self._library = load(model_proto=data)
        self._normalized = load(model_proto=data + sentencepiece_model.NORMALIZED)  # for text that is normalised already
        self._cuts, self._memo_bytes = cuts, memo_bytes
        self._unigram = _Unigram(model) if model.kind == sentencepiece_model.UNIGRAM else None
        self._merges = _Merges(model, self._normalized) if sentencepiece_model.is_plain_bpe(model) else None
        self._normalizer = (
            model.rules.trie,
            np.frombuffer(model.rules.replacements, dtype=np.uint8),
            int(model.rules.out_bytes.max(initial=0)),
            _trie_of(model, model.types == sentencepiece_model.USER_DEFINED),
            model.dummy_prefix,
            model.collapse,
        )
        self._squeezed = np.frombuffer(cuts.plain_spaces or bytes(256), dtype=np.bool_)
        self._lock = threading.Lock()
        self._table = _EMPTY
        self._worth = _Worth(0.3e-6, 18e-9) if self._unigram or self._merges else _Worth(1.2e-6, 60e-9)
        self.encoded_bytes = 0

    @property
    def nbytes(self) -> int:
        """The memory that the memo takes."""
        return self._table.nbytes

    def encode_block(self, text: _Bytes, offsets: _Integers) -> _Encoded:
        """Encodes documents as `Vocabulary.encode_block` does."""
        arrays: list[npt.NDArray[np.int32]] = []
        lengths: list[_Integers] = []
        start = 0
        while start < len(offsets) - 1:
            size, use_memo = self._worth.next_slice()
            stop = int(np.searchsorted(offsets, offsets[start] + size, side="right")) - 1
            stop = max(start + 1, min(stop, len(offsets) - 1))
            part = np.ascontiguousarray(text[offsets[start] : offsets[stop]]), offsets[start : stop + 1] - offsets[start]
            if not use_memo and size <= self._worth.SAMPLE_BYTES < len(part[0]) // 4:
                self._take_pace(part[0][len(part[0]) // 2 :][:size])  # a long document is no sample
                continue
            began = time.process_time()  # of the process: the library works in threads of its own
            found = self._encode_slice(*part) if use_memo else None
            if found is None:
                self.encoded_bytes += len(part[0])
                each = _encode_each(self._library, *part)
                arrays += each
                lengths.append(np.fromiter(map(len, each), dtype=np.int64, count=len(each)))
            else:
                arrays.append(found[0])
                lengths.append(found[1])
            self._worth.timed(found is not None, time.process_time() - began, len(part[0]))
            start = stop
        return np.concatenate([_NONE.ids, *arrays]), np.concatenate([np.zeros(0, dtype=np.int64), *lengths])

    def _take_pace(self, text: _Bytes) -> None:
        """Lets the library encode what lies between two characters of a part of a document, for the time alone."""
        starts = (text & 0xC0) != 0x80
        text = text[int(np.argmax(starts)) : len(text) - int(np.argmax(starts[::-1])) - 1]
        began = time.process_time()
        _encode_each(self._library, text, np.array([0, len(text)], dtype=np.int64))
        self._worth.timed(False, time.process_time() - began, self._worth.SAMPLE_BYTES)

    def _encode_slice(self, text: _Bytes, offsets: _Integers) -> _Encoded | None:
        """Encodes documents by looking up; None if too much of them is new."""
        from tokenreel import unit_kernels

        if len(text) >= _MOST_BYTES:
            return None
        cut_text, bounds, first, hashes, flags, with_symbol = unit_kernels.cut(text, offsets, self._cuts.allowed, self._squeezed)
        table = self._table
        known = table.units
        entries, new_units = table.look_up(cut_text, bounds, hashes, flags)
        sizes = bounds[new_units + 1] - bounds[new_units]
        new_bytes = int(sizes.sum())
        long_bytes = int(sizes[sizes > unit_kernels.MOST_MERGED].sum()) if self._merges else 0
        if not self._worth.report(len(entries), len(text), len(new_units), new_bytes, long_bytes):
            return None
        new = self._encode_units(cut_text, bounds, flags, new_units) if len(new_units) else _NONE
        self.encoded_bytes += new_bytes

        counts = unit_kernels.count(entries, first, known.id_bounds, new.id_bounds)
        by_library = np.flatnonzero(with_symbol)  # the normaliser confuses it with the spaces it writes
        again: list[tuple[_Integers, npt.NDArray[np.int32], _Integers]] = []
        if len(by_library):
            again.append((by_library, *encode_documents(self._library, *ragged.take(text, offsets, by_library))))
        if self._unigram:
            doubt = unit_kernels.in_doubt(entries, first, known.scores, known.certain, new.scores, new.certain)
            doubt[by_library] = False
            documents = np.flatnonzero(doubt)
            if len(documents):
                again.append((documents, *self._unigram.segment_again(documents, entries, first, known, new)))
        kept = np.ones(len(counts), dtype=bool)
        for documents, _, lengths in again:
            counts[documents], kept[documents] = lengths, False
        bounds_out = ragged.offsets_of(counts)
        out = np.empty(int(bounds_out[-1]), dtype=np.int32)
        unit_kernels.gather(entries, first, known.ids, known.id_bounds, new.ids, new.id_bounds, np.flatnonzero(kept), bounds_out, out)
        for documents, ids, lengths in again:
            for document, part in zip(documents.tolist(), np.split(ids, np.cumsum(lengths)[:-1]), strict=True):
                out[bounds_out[document] : bounds_out[document + 1]] = part
        if len(new_units):
            self._keep(hashes[new_units], new, table)
        return out, counts

    def _keep(self, hashes: npt.NDArray[np.uint64], new: _Units, seen: _Table) -> None:
        """Puts units that a table did not hold into the one of now, if no other thread put them there meanwhile."""
        with self._lock:
            table = self._table
            if table is not seen:
                entries, fresh = table.look_up(new.text, new.text_bounds.astype(np.int32), hashes, new.flags)
                if len(fresh) < len(entries):
                    hashes, new = hashes[fresh], _pick(new, fresh)
            grown = table.added(hashes, new, self._memo_bytes)
            if grown is None:  # full: begin afresh
                grown = _EMPTY.added(hashes, new, self._memo_bytes) or _EMPTY
            self._table = grown

    def _encode_units(self, text: _Bytes, bounds: npt.NDArray[np.int32], flags: _Bytes, units: _Entries) -> _Units:
        """Encodes units that were not seen before."""
        from tokenreel import unit_kernels

        unit_text, text_bounds = unit_kernels.take(text, bounds, units)
        spelling, spelling_bounds = unit_kernels.normalize(text, bounds, units, flags, *self._normalizer)
        found = _NONE._replace(flags=flags[units], text=unit_text, text_bounds=text_bounds)
        if self._unigram:
            return found._replace(spelling=spelling, spelling_bounds=spelling_bounds, **self._unigram.segment(spelling, spelling_bounds))
        if self._merges:
            ids, id_bounds = self._merges.encode(spelling, spelling_bounds)
            return found._replace(ids=ids, id_bounds=id_bounds)
        spelled = _split(spelling, spelling_bounds, np.arange(len(units)))
        ids, lengths = _to_arrays(self._normalized.encode(spelled, num_threads=1))
        return found._replace(ids=ids, id_bounds=ragged.offsets_of(lengths))


def load(data: bytes, memo_bytes: int) -> UnitMemo | None:
    """Makes the memo for a .model file; None if only whole documents show what the model does, or it cannot be read."""
    try:
        model = sentencepiece_model.parse(data)
    except ValueError:  # the library could, and has the last word
        return None
    cuts = sentencepiece_model.find_cuts(model)
    if cuts is None:
        return None
    if model.kind == sentencepiece_model.UNIGRAM and not sentencepiece_model.is_plain_unigram(model):
        return None
    try:
        import numba  # noqa: F401  a trainer's environment may lack it, and encodes little
    except ImportError:
        return None
    return UnitMemo(data, model, cuts, memo_bytes)


class _Worth:
    """Decides for each slice whether looking up is worth it. It is not where nearly all units are new, as in random bytes.

    Compares CPU time: samples go to the library, and again when looking up slows down, as it does where the text changes. An empty memo is
    slower than the library at first: it may lose as much time as the library takes for `GRACE_BYTES`, and what it gained since, up to that
    much again. Where a slice would lose more, or did, the next ones go to the library, ever more of them, and earn a fiftieth of their time
    for a new trial.
    """

    GRACE_BYTES = 768 << 10
    SAMPLE_BYTES = 128 << 10  # for the library's pace; times of much less say little
    SAMPLE_EVERY = 64 << 20  # bytes looked up
    BYTE_SECONDS, UNIT_SECONDS = 7e-9, 20e-9  # what looking up costs, about

    def __init__(self, new_unit_seconds: float, new_byte_seconds: float) -> None:
        """Takes what a unit costs, about, that is not known, and each of its bytes."""
        self._new_unit_seconds, self._new_byte_seconds = new_unit_seconds, new_byte_seconds
        self._size = self._skip = TRIAL_BYTES
        self._whole = 3 * self.SAMPLE_BYTES  # bytes for the library next; its first sample is slow
        self._library = self._memo = 0.0  # seconds a byte
        self._credit: float | None = None  # seconds
        self._since_sample = 0

    def next_slice(self) -> tuple[int, bool]:
        """Gives the size of the next slice, and whether to look it up."""
        if self._whole:
            return min(self._whole, SLICE_BYTES if self._whole > TRIAL_BYTES * 4 else self.SAMPLE_BYTES), False
        return self._size, True

    def report(self, units: int, size: int, new_units: int, new_bytes: int, long_bytes: int) -> bool:
        """Takes the units and the bytes of a slice, those that are new, and of these what the library encodes; tells whether to go on."""
        cost = units * self.UNIT_SECONDS + size * self.BYTE_SECONDS
        cost += new_units * self._new_unit_seconds + new_bytes * self._new_byte_seconds + long_bytes * self._library
        if cost - self._library * size <= (self._credit or 0.0):
            return True
        self._give_up()
        return False

    def timed(self, used_memo: bool, seconds: float, size: int) -> None:
        """Takes the time of a slice."""
        pace = seconds / max(size, 1)
        if not used_memo:
            self._whole = self._whole - size if self._whole - size > self.SAMPLE_BYTES // 4 else 0
            if size > self.SAMPLE_BYTES // 4:
                self._library = min(pace, 1.1 * self._library or pace)  # what disturbs it only makes it slower
                self._since_sample = 0
                if self._credit is None:
                    self._credit = self.GRACE_BYTES * pace
            if self._credit is not None:
                self._credit += seconds / 50
            return
        gain = self._library * size - seconds
        self._credit = min((self._credit or 0.0) + gain, self.GRACE_BYTES * self._library)
        self._since_sample += size
        if self._credit < 0:
            self._give_up()
        else:
            if pace > 1.3 * self._memo or self._since_sample > self.SAMPLE_EVERY:
                self._whole = max(self._whole, self.SAMPLE_BYTES)
            if gain > 0:
                self._size, self._skip = min(2 * max(self._size, size), SLICE_BYTES), TRIAL_BYTES
        self._memo = pace

    def _give_up(self) -> None:
        self._skip = min(8 * self._skip, 8 * SLICE_BYTES)
        self._size, self._whole = TRIAL_BYTES, self._skip


def encode_documents(processor: Any, text: _Bytes, offsets: _Integers) -> _Encoded:
    """Encodes whole documents with the library."""
    return _join(_encode_each(processor, text, offsets))


def _encode_each(processor: Any, text: _Bytes, offsets: _Integers) -> list[npt.NDArray[np.int32]]:
    """The ids of each document, as arrays: without an object for each token."""
    arrays: list[npt.NDArray[np.int32]] = []
    start = 0
    while start < len(offsets) - 1:  # in portions that fit the cache
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + TRIAL_BYTES, side="right")) - 1)
        data = text[offsets[start] : offsets[stop]].tobytes()
        bounds = (offsets[start : stop + 1] - offsets[start]).tolist()
        arrays += processor.encode([data[a:b] for a, b in itertools.pairwise(bounds)], num_threads=1, return_type="numpy")
        start = stop
    return arrays


def _join(arrays: Sequence[npt.NDArray[np.int32]]) -> _Encoded:
    lengths = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
    return np.concatenate([np.zeros(0, dtype=np.int32), *arrays]), lengths


def _to_arrays(encoded: list[list[int]]) -> _Encoded:
    """Lays lists of ids end to end: the int32 ids, and the int64 length of each list."""
    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    return np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.int32, count=int(lengths.sum())), lengths


def _pick(units: _Units, which: npt.NDArray[np.int32]) -> _Units:
    """Some of the units."""
    from tokenreel import unit_kernels

    picked = {}
    for name, bounds in _BOUNDED.items():
        if len(getattr(units, bounds)) > 1:
            picked[name], picked[bounds] = unit_kernels.take(getattr(units, name), getattr(units, bounds), which)
    for name in ("flags", "scores", "certain"):
        if len(getattr(units, name)):
            picked[name] = getattr(units, name)[which]
    return units._replace(**picked)
