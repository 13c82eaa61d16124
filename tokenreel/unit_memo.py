"""Encodes blocks of text with SentencePiece by looking up what was encoded before.

A block is cut wherever no piece of the vocabulary can lie across (`sentencepiece_model.find_cuts`). The parts, *units*, are encoded
independently of each other, and natural text repeats them (Zipf 1949): only distinct units not seen before reach the library, and the ids
of all others are gathered from a table. Everything else works on whole blocks.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged, sentencepiece_model
from tokenreel.sentencepiece_model import SPACE, Cuts, Model

SLICE_BYTES = 8 << 20  # text handled at once: bounds the arrays that a block needs beside its result
TRIAL_BYTES = 256 << 10  # text on which the memo is tried
ENTRY_BYTES = 200  # what a unit occupies beside its text and ids: a bytes object, its slot, a third of an empty place in the dict

_FIRST, _LAST = 1, 2  # flags of units that begin or end a document
_FLAGGED = [b"\xff" + bytes([flag]) for flag in range(4)]  # no UTF-8 holds the byte 0xFF

_Encoded = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]


class _Table:
    """Ids of units, end to end, and where those of each unit are. Grows; never changes what it holds."""

    def __init__(self) -> None:
        self.slots: dict[bytes, int] = {}
        self.nbytes = 0
        self._ids = np.empty(1 << 16, dtype=np.int32)
        self._offsets = np.zeros(1 << 14, dtype=np.int64)
        self._slots_used = 0

    def add(self, units: Sequence[bytes], ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64]) -> None:
        """Appends units that the table does not hold; publishes each after its ids, for threads that read meanwhile."""
        first, start = self._slots_used, int(self._offsets[self._slots_used])
        end, last = start + len(ids), first + len(units)
        if end > len(self._ids):
            self._ids = np.concatenate([self._ids[:start], np.empty(max(end, 2 * len(self._ids)) - start, dtype=np.int32)])
        if last >= len(self._offsets):
            grown = np.empty(max(last + 1, 2 * len(self._offsets)) - first - 1, dtype=np.int64)
            self._offsets = np.concatenate([self._offsets[: first + 1], grown])
        self._ids[start:end] = ids
        np.cumsum(lengths, out=self._offsets[first + 1 : last + 1])
        self._offsets[first + 1 : last + 1] += start
        self._slots_used = last
        self.slots.update(zip(units, range(first, last), strict=True))
        self.nbytes += cost(units) + ids.nbytes + lengths.nbytes

    def get(self, slots: npt.NDArray[np.int64]) -> _Encoded:
        """Gathers the ids of units, and their numbers."""
        ids, offsets = ragged.take(self._ids, self._offsets[: self._slots_used + 1], slots)
        return ids, np.diff(offsets)


def cost(units: Sequence[bytes]) -> int:
    """Estimates the bytes that units occupy in the memo, without their ids."""
    return sum(map(len, units)) + ENTRY_BYTES * len(units)


@dataclasses.dataclass(frozen=True)
class _Processors:
    """The library, three times: as the model says, as if in the middle of a text, and for text that is normalised already."""

    documents: Any
    mid_text: Any
    normalized: Any


class UnitMemo:
    """Encodes documents with one model. Threads share it; ids do not depend on what it holds.

    Attributes:
      nbytes: an estimate of the memory the memo takes.
      encoded_bytes: text that the library has encoded; the rest was looked up.
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
        self._processors = _Processors(
            load(model_proto=data),
            load(model_proto=data + sentencepiece_model.MID_TEXT),
            load(model_proto=data + sentencepiece_model.NORMALIZED),
        )
        self._model, self._cuts, self._memo_bytes = model, cuts, memo_bytes
        self._lock = threading.Lock()
        self._table = _Table()
        self._worth = _Worth()
        self.encoded_bytes = 0
        # Arrow's first call imports for a quarter of a second, which would count against the memo.
        ragged.take(np.zeros(1, dtype=np.int32), np.array([0, 1]), np.zeros(1, dtype=np.int64))
        _distinct(np.full(2, SPACE, dtype=np.uint8), np.arange(3), np.zeros(0, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """An estimate of the memory the memo takes."""
        return self._table.nbytes

    def encode_block(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> _Encoded:
        """Encodes documents as `Vocabulary.encode_block` does."""
        parts: list[_Encoded] = []
        start = 0
        while start < len(offsets) - 1:
            size, use_memo = self._worth.next_slice()
            stop = int(np.searchsorted(offsets, offsets[start] + size, side="right")) - 1
            stop = max(start + 1, min(stop, len(offsets) - 1))
            part = text[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start]
            began = time.perf_counter()  # the CPU time of this thread misses what the library does in its own threads
            parts.append((self._encode_slice if use_memo else self._encode_whole)(*part))
            self._worth.timed(use_memo, time.perf_counter() - began, len(part[0]))
            start = stop
        if not parts:
            return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([lengths for _, lengths in parts])

    def _encode_whole(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> _Encoded:
        self.encoded_bytes += len(text)
        return encode_documents(self._processors.documents, text, offsets)

    def _encode_slice(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> _Encoded:
        nonempty = np.flatnonzero(np.diff(offsets))
        if not len(nonempty):
            return np.zeros(0, dtype=np.int32), np.zeros(len(offsets) - 1, dtype=np.int64)
        whole_text, whole_offsets = text, offsets
        text, offsets = _squeeze(text, offsets, self._cuts.plain_spaces)
        starts = offsets[nonempty]
        bounds = _cut(text, starts, self._cuts.allowed)  # [units + 1]
        first = np.searchsorted(bounds, starts)  # [documents] the first unit of each, and after the last
        last = np.append(first[1:], len(bounds) - 1) - 1

        keys, indices = _distinct(text, bounds, np.concatenate([first, last]))
        edges = self._edges(text, bounds, first, last)
        distinct = keys + list(dict.fromkeys(itertools.chain(*edges)))
        table, slots = self._slots(distinct, len(text))
        if table is None:
            return self._encode_whole(whole_text, whole_offsets)

        units = slots[indices]  # [units] slots; those of first and last units are set next
        edge_slot = dict(zip(distinct[len(keys) :], slots[len(keys) :].tolist(), strict=True))
        units[last] = np.fromiter(map(edge_slot.__getitem__, edges[1]), dtype=np.int64, count=len(last))
        units[first] = np.fromiter(map(edge_slot.__getitem__, edges[0]), dtype=np.int64, count=len(first))
        ids, lengths = table.get(units)
        counts = np.zeros(len(offsets) - 1, dtype=np.int64)
        counts[nonempty] = np.add.reduceat(lengths, first)
        return self._replace_exceptions(whole_text, whole_offsets, ids, counts)

    def _edges(
        self, text: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64], first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]
    ) -> tuple[list[bytes], list[bytes]]:
        """Gives the keys of the first and of the last unit of each document; they are one where there is no other."""
        single = first == last
        view = memoryview(np.ascontiguousarray(text).data)
        out = []
        for units, flags in ((first, _FIRST + _LAST * single), (last, _LAST + _FIRST * single)):
            spans = zip(bounds[units].tolist(), bounds[units + 1].tolist(), flags.tolist(), strict=True)
            out.append([bytes(view[start:stop]) + _FLAGGED[flag] for start, stop, flag in spans])
        return out[0], out[1]

    def _slots(self, keys: list[bytes], text_bytes: int) -> tuple[_Table | None, npt.NDArray[np.int64]]:
        """Finds or makes the slots of distinct units; no table if too much of the text is new."""
        table = self._table
        slots = np.fromiter(map(table.slots.get, keys, itertools.repeat(-1)), dtype=np.int64, count=len(keys))
        new = np.flatnonzero(slots < 0)
        unseen = [keys[i] for i in new.tolist()] if len(new) < len(keys) else keys
        size = sum(map(len, unseen))
        if not self._worth.report(size / text_bytes, text_bytes):
            return None, slots
        if not unseen:
            return table, slots
        ids, lengths = self._encode_units(unseen)
        self.encoded_bytes += size
        needed = cost(unseen) + ids.nbytes + lengths.nbytes
        with self._lock:
            if self._table is table and table.nbytes + needed <= self._memo_bytes:
                if any(key in table.slots for key in unseen):  # another thread was quicker with some of them
                    missing = np.array([key not in table.slots for key in unseen])
                    ids = ids[np.repeat(missing, lengths)]
                    table.add([key for key, use in zip(unseen, missing.tolist(), strict=True) if use], ids, lengths[missing])
                else:
                    table.add(unseen, ids, lengths)
                slots[new] = np.fromiter(map(table.slots.__getitem__, unseen), dtype=np.int64, count=len(unseen))
                return table, slots
            if self._table is table:
                self._table = _Table()  # full: begin afresh
        # A table of this slice alone: what was known, then what was new.
        known = np.flatnonzero(slots >= 0)
        known_ids, known_lengths = table.get(slots[known])
        private = _Table()
        private.add([keys[i] for i in known.tolist()], known_ids, known_lengths)
        private.add(unseen, ids, lengths)
        slots[known] = np.arange(len(known))
        slots[new] = len(known) + np.arange(len(new))
        return private, slots

    def _encode_units(self, keys: list[bytes]) -> _Encoded:
        """Encodes units, with flags or without, in the order given."""
        # Units go to the library as they are, unless they begin or end a document or hold spaces to be collapsed.
        text = np.frombuffer(b"".join(keys), dtype=np.uint8)
        offsets = ragged.offsets_of(np.fromiter(map(len, keys), dtype=np.int64, count=len(keys)))
        special = np.zeros(len(text), dtype=bool)
        special[:-1] = text[1:] == 0xFF
        if self._model.collapse and len(text) > 1:
            special[:-1] |= self._cuts.spaces[_pairs(text)]
            special[offsets[1:] - 1] = False
        slow = np.add.reduceat(special, offsets[:-1], dtype=np.int64) > 0
        plain = list(itertools.compress(keys, (~slow).tolist()))
        encoded: list[list[int]] = self._processors.mid_text.encode(plain, num_threads=1) if plain else []
        if slow.any():
            other = iter(self._encode_special(list(itertools.compress(keys, slow.tolist()))))
            quick = iter(encoded)
            encoded = [next(other) if is_slow else next(quick) for is_slow in slow.tolist()]
        return _to_arrays(encoded)

    def _encode_special(self, keys: list[bytes]) -> list[list[int]]:
        """Encodes units that begin or end a document, or hold spaces to be collapsed, as the library does in the document."""
        normalize, model = self._processors.mid_text.normalize, self._model
        texts = []
        for key in keys:
            flags = key[-1] if key[-2:-1] == b"\xff" else 0
            unit: str = normalize((key[:-2] if flags else key).decode())
            if model.collapse:
                unit = re.sub("▁▁+", "▁", unit)
                if flags & _FIRST:
                    unit = unit.lstrip("▁")
            if flags & _FIRST and model.dummy_prefix:
                unit = "▁" + unit
            if flags & _LAST and model.collapse:
                unit = unit.rstrip("▁")
            texts.append(unit)
        encoded: list[list[int]] = self._processors.normalized.encode(texts, num_threads=1)
        return encoded

    def _replace_exceptions(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
    ) -> _Encoded:
        """Lets the library encode documents that hold U+2581 themselves: the normaliser confuses it with the spaces it writes."""
        data = text.tobytes() if len(text) and (text == sentencepiece_model.SPACE_SYMBOL[0]).any() else b""
        places = [match.start() for match in re.finditer(sentencepiece_model.SPACE_SYMBOL, data)]
        if not places:
            return ids, counts
        documents = np.unique(np.searchsorted(offsets, places, side="right") - 1)
        return self._encode_again(documents, text, offsets, ids, counts)

    def _encode_again(
        self,
        documents: npt.NDArray[np.int64],
        text: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int32],
        counts: npt.NDArray[np.int64],
    ) -> _Encoded:
        """Replaces the ids of some documents by those that the library gives for the whole document."""
        their_text, their_offsets = ragged.take(text, offsets, documents)
        new_ids, new_counts = self._encode_whole(their_text, their_offsets)
        order = np.arange(len(counts), dtype=np.int64)
        order[documents] = len(counts) + np.arange(len(documents))
        values = np.concatenate([ids, new_ids])
        out, out_offsets = ragged.take(values, ragged.offsets_of(np.concatenate([counts, new_counts])), order)
        return out, np.diff(out_offsets)


def load(data: bytes, memo_bytes: int) -> UnitMemo | None:
    """Makes the memo for a .model file; None if only whole documents show what the model does, or it cannot be read."""
    try:
        model = sentencepiece_model.parse(data)
    except ValueError:  # the library could, and has the last word
        return None
    cuts = sentencepiece_model.find_cuts(model)
    return UnitMemo(data, model, cuts, memo_bytes) if cuts and model.kind != sentencepiece_model.UNIGRAM else None


class _Worth:
    """Decides for each slice whether looking up is worth it. It is not where nearly all units are new, as in random bytes.

    Compares time: samples go to the library, and again when looking up slows down, as it does where the text changes. An empty memo is
    slower than the library at first: it may lose as much time as the library takes for `GRACE_BYTES`, and what it gained since, up to that
    much again. When that is spent, the next slices go to the library, ever more of them, and earn a fiftieth of their time for a new trial.
    """

    GRACE_BYTES = 512 << 10
    SAMPLE_BYTES = 128 << 10  # for the library's pace; times of much less say little

    def __init__(self, most_unseen: float = 0.8) -> None:
        self._most_unseen = most_unseen
        self._size = self._skip = TRIAL_BYTES
        self._whole = self.SAMPLE_BYTES  # bytes for the library next
        self._library = self._memo = 0.0  # seconds a byte
        self._credit: float | None = None  # seconds
        self._since_sample = 0

    def next_slice(self) -> tuple[int, bool]:
        """Gives the size of the next slice, and whether to look it up."""
        if self._whole:
            return min(self._whole, SLICE_BYTES), False
        return self._size, True

    def report(self, unseen: float, size: int) -> bool:
        """Takes the share of a slice that is new; tells whether to go on."""
        if unseen > self._most_unseen:
            self._give_up()
            return False
        return True

    def timed(self, used_memo: bool, seconds: float, size: int) -> None:
        """Takes the time of a slice."""
        pace = seconds / max(size, 1)
        if not used_memo:
            self._whole = self._whole - size if self._whole - size > self.SAMPLE_BYTES // 4 else 0
            if size > self.SAMPLE_BYTES // 4:
                self._library, self._since_sample = pace, 0
            self._credit = self.GRACE_BYTES * pace if self._credit is None else self._credit + seconds / 50
            return
        gain = self._library * size - seconds
        self._credit = min((self._credit or 0.0) + gain, self.GRACE_BYTES * self._library)
        self._since_sample += size
        if self._credit < 0:
            self._give_up()
        else:
            if pace > 1.3 * self._memo or self._since_sample > SLICE_BYTES:
                self._whole = max(self._whole, self.SAMPLE_BYTES)
            if gain > 0:
                self._size, self._skip = min(2 * max(self._size, size), SLICE_BYTES), TRIAL_BYTES
        self._memo = pace

    def _give_up(self) -> None:
        self._skip = min(8 * self._skip, 8 * SLICE_BYTES)
        self._size, self._whole = TRIAL_BYTES, self._skip


def encode_documents(processor: Any, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> _Encoded:
    """Encodes whole documents with the library."""
    parts = [_to_arrays([])]
    start = 0
    while start < len(offsets) - 1:  # in portions that fit the cache; whole documents as arrays, without an object for each token
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + TRIAL_BYTES, side="right")) - 1)
        data = text[offsets[start] : offsets[stop]].tobytes()
        bounds = (offsets[start : stop + 1] - offsets[start]).tolist()
        arrays = processor.encode([data[a:b] for a, b in itertools.pairwise(bounds)], num_threads=1, return_type="numpy")
        parts.append((np.concatenate(arrays), np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))))
        start = stop
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([lengths for _, lengths in parts])


def _to_arrays(encoded: list[list[int]]) -> _Encoded:
    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    return np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.int32, count=int(lengths.sum())), lengths


def _pairs(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """[n - 1] each two adjacent bytes, the second one high."""
    pairs = text[1:].astype(np.uint16)
    pairs <<= np.uint16(8)
    pairs |= text[:-1]
    return pairs


def _squeeze(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], spaces: bytes
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Leaves one of each run of spaces, as the normaliser will; saves much in source code, where lines begin with many.

    Args:
      text: [bytes] documents end to end.
      offsets: [n + 1] their bounds.
      spaces: [256] 1 for bytes that are always and only a space, or empty.

    Returns:
      the text and bounds, with the last byte of each run of spaces in a document; the same if there is little to gain.
    """
    if not spaces:
        return text, offsets
    is_space = np.frombuffer(text.tobytes().translate(spaces), dtype=np.bool_)
    drop = np.zeros(len(text) + 1, dtype=bool)
    np.logical_and(is_space[:-1], is_space[1:], out=drop[: len(text) - 1])
    drop[offsets[1:] - 1] = False  # index -1, of an empty first document, is the spare one
    places = np.flatnonzero(drop)
    if len(places) * 64 < len(text):
        return text, offsets
    return text[~drop[:-1]], offsets - np.searchsorted(places, offsets)


def _cut(text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """[units + 1] the bounds of units: where cuts are allowed, and where documents start."""
    here = np.ones(len(text) + 1, dtype=bool)
    for start in range(0, len(text) - 1, 1 << 16):  # small enough for the cache
        stop = min(start + (1 << 16), len(text) - 1)
        np.take(allowed, _pairs(text[start : stop + 1]), out=here[start + 1 : stop + 1], mode="clip")
    here[starts] = True
    return np.flatnonzero(here)


def _distinct(
    text: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64], without: npt.NDArray[np.int64]
) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    """Gives the distinct units, and [units] which of them each one is; units `without` are left out, and get any."""
    import pyarrow as pa

    valid = np.ones(len(bounds) - 1, dtype=bool)
    valid[without] = False
    validity = pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [validity, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(text))]
    encoded = pa.BinaryArray.from_buffers(pa.binary(), len(valid), buffers).dictionary_encode()
    indices = np.frombuffer(encoded.indices.buffers()[1], dtype=np.int32, count=len(valid)).astype(np.int64)
    indices[~valid] = 0
    return encoded.dictionary.to_pylist(), indices
