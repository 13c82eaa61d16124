"""Encodes blocks of text with a SentencePiece model by looking up what was encoded before.

A block is cut wherever no piece of the vocabulary can lie across (`sentencepiece.model.find_cuts`). The parts, *units*, are encoded
independently of each other, and natural text repeats them (Zipf 1949): only distinct units not seen before are encoded, by the model's own
rules, and the ids of all others are copied from a table. Tables belong to one call of `encode_block` at a time: a thread takes one that no
other uses, or begins a new one. So the loop that looks units up also writes them, without a lock.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.ragged import Ints
from tokenreel.storage.column_file import Columns
from tokenreel.vocabularies import kept_arrays
from tokenreel.vocabularies.base import Encoded
from tokenreel.vocabularies.kept_arrays import Built
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.unit_memo import lookups, model_arrays
from tokenreel.vocabularies.unit_memo.slot_table import Bytes, SlotTable

_MOST_BYTES = 1 << 31  # of a document: units are placed in int32
_SPELLING_BYTES = 1 << 12  # of a normalised unit at first, beside those that it has in the text
_LONG_WORD = 200  # bytes; if words are longer, there is hardly anything to look up, and the library is faster
_TUPLES = "cutter", "normalizer", "model"  # what the kernels take, as it is kept
_SLICE_BYTES = 1 << 18  # text encoded at once: what is written beside its result stays in the cache


class UnitMemo:
    """Encodes documents with one model. Threads share it; ids do not depend on what it holds.

    Attributes:
      encoded_units: units that were encoded; the others were looked up.
    """

    def __init__(self, data: bytes, kept: Columns, memo_bytes: int) -> None:
        """Makes an empty memo.

        Args:
          data: of the .model file.
          kept: what `_lay_out` gave.
          memo_bytes: most memory for the tables. A full one is emptied, and fills again.
        """
        self._data, self._memo_bytes = data, memo_bytes
        self._cutter, self._normalizer, self._model = (kept_arrays.unpack(name, kept.arrays) for name in _TUPLES)
        self._is_unigram: bool = kept.about["unigram"]
        self._is_words = not self._is_unigram and bool(self._model[-1])
        self._lock = threading.Lock()
        self._tables: list[SlotTable] = []  # that no thread uses now
        self._count = 0  # tables in all
        self.encoded_units = 0

    @functools.cached_property
    def _library(self) -> Any:
        """The `SentencePieceProcessor` of the model, for what only it can encode."""
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self._data)

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the tables take which no thread uses now."""
        with self._lock:
            return sum(table.nbytes for table in self._tables)

    def encode_block(self, text: Bytes, offsets: Ints) -> Encoded:
        """Encodes documents as `Vocabulary.encode_block` does.

        Args:
          text: [bytes] uint8, valid UTF-8, documents end to end.
          offsets: [n + 1] int64 their bounds.

        Returns:
          int32 ids end to end, and the [n] int64 number of ids of each document.
        """
        with self._lock:
            table = self._tables.pop() if self._tables else None
            self._count += table is None
        table = table or SlotTable()
        arrays, lengths = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
        start = 0
        try:
            while start < len(offsets) - 1:
                stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _SLICE_BYTES, side="right")) - 1)
                part = text[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start]
                ids, counts = self._encode(table, *part) if len(part[0]) < _MOST_BYTES else encode_documents(self._library, *part)
                arrays.append(ids)
                lengths.append(counts)
                start = stop
        finally:
            with self._lock:
                self._tables.append(table)
        return np.concatenate(arrays), np.concatenate(lengths)

    def _encode(self, table: SlotTable, text: Bytes, offsets: Ints) -> Encoded:
        """Encodes some of the documents."""
        from tokenreel.vocabularies.unit_memo.kernels import bpe, slots, unigram
        from tokenreel.vocabularies.unit_memo.kernels.documents import cut_documents

        if self._is_words and np.count_nonzero(text == ord(" ")) * _LONG_WORD < len(text):
            return encode_documents(self._library, text, offsets)
        units, starts, first = cut_documents(np.ascontiguousarray(text), offsets, self._cutter)
        counts, progress, sums = np.zeros(len(offsets) - 1, dtype=np.int64), np.zeros(5, dtype=np.int64), np.zeros(1, dtype=np.float32)
        spelling, work = self._make_work(_SPELLING_BYTES + int(np.diff(starts).max(initial=0)))
        out = np.empty(len(text) + slots.MOST_IDS, dtype=np.int32)
        looks_up = table.begin_slice()
        while True:
            into = looks_up, table.batch, spelling, work, out, counts
            arguments = units, starts, first, self._normalizer, self._model, table.arrays, progress
            status = unigram.encode(*arguments, sums, *into) if self._is_unigram else bpe.encode(*arguments, *into)
            if status == slots.DONE:
                break
            if status == slots.FULL:
                table.make_room(self._memo_bytes // max(self._count, 1))
            else:
                spelling, work = self._make_work(2 * len(spelling))
                lacking = int(progress[2]) + len(spelling) + slots.MOST_IDS - len(out)
                if lacking > 0:
                    out = np.concatenate([out, np.empty(max(lacking, len(out) // 2), dtype=np.int32)])
        new = int(progress[4])
        table.end_slice(looks_up, len(starts) - 1, new)
        lookups.add(len(starts) - 1 - new, new)
        self.encoded_units += new
        ids = out[: int(progress[2])].copy()
        asked = ids == bpe.ASK
        return self._ask(text, offsets, ids, counts, asked) if asked.any() else (ids, counts)

    def _make_work(self, size: int) -> tuple[Bytes, model_arrays.Arrays]:
        """Makes the arrays in which the kernels take notes on a normalised unit of so many bytes."""
        kinds = [np.float32, np.float32, np.int32, np.int32] if self._is_unigram else [np.int32, np.int32, np.uint64, np.int32, np.int32]
        work = [np.empty(size + 1, dtype=kind) for kind in kinds]
        return np.empty(size, dtype=np.uint8), (*work, *([] if self._is_unigram else [np.empty(3 * size + 2, dtype=np.uint64)]))

    def _ask(self, text: Bytes, offsets: Ints, ids: npt.NDArray[np.int32], counts: Ints, asked: npt.NDArray[np.bool_]) -> Encoded:
        """Lets the library encode the documents that only it can: those of which an id is asked for."""
        bounds = ragged.offsets_of(counts)
        which = np.unique(np.searchsorted(bounds, np.flatnonzero(asked), side="right") - 1)
        found, lengths = encode_documents(self._library, *ragged.take(text, offsets, which))
        order = np.arange(len(counts))
        order[which] = len(counts) + np.arange(len(which))
        ids, bounds = ragged.take(np.concatenate([ids, found]), ragged.offsets_of(np.concatenate([counts, lengths])), order)
        return ids, np.diff(bounds)


def load(data: bytes, memo_bytes: int) -> UnitMemo | None:
    """Makes the memo for a .model file.

    Args:
      data: of the file.
      memo_bytes: most memory for the memo.

    Returns:
      None if the kernels do not know all that the model does, if it cannot be read, or where Numba is not installed.
    """
    if importlib.util.find_spec("numba") is None:  # a trainer's environment may lack it, and encodes little
        return None
    kept = kept_arrays.get("sentencepiece", keys.digest(data), lambda: _lay_out(data))
    return UnitMemo(data, kept, memo_bytes) if kept.arrays else None


def _lay_out(data: bytes) -> Built:
    """Builds the arrays of the kernels for a .model file; none where `load` gives no memo."""
    try:
        model = sentencepiece_model.parse(data)
    except ValueError:  # the library could read it, and has the last word
        return {}, None
    if not sentencepiece_model.is_encodable(model):
        return {}, None
    cuts, unigram = sentencepiece_model.find_cuts(model), model.kind == sentencepiece_model.UNIGRAM
    tuples = (
        (cuts.allowed, cuts.careful, cuts.plain_spaces),
        model_arrays.to_normalizer(model),
        model_arrays.to_unigram(model) if unigram else model_arrays.to_merges(model),
    )
    found: dict[str, npt.NDArray[Any]] = {}
    for name, values in zip(_TUPLES, tuples, strict=True):
        found |= kept_arrays.pack(name, values)
    return found, {"unigram": unigram}


def encode_documents(processor: Any, text: Bytes, offsets: Ints) -> Encoded:
    """Encodes whole documents, [bytes] uint8 and [n + 1] int64 bounds, with the library; gives int32 ids and [n] int64 lengths."""
    arrays: list[npt.NDArray[np.int32]] = []
    start = 0
    while start < len(offsets) - 1:  # in portions that fit the cache
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _SLICE_BYTES, side="right")) - 1)
        data = text[offsets[start] : offsets[stop]].tobytes()
        bounds = (offsets[start : stop + 1] - offsets[start]).tolist()
        arrays += processor.encode([data[a:b] for a, b in itertools.pairwise(bounds)], num_threads=1, return_type="numpy")
        start = stop
    lengths = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
    return np.concatenate([np.zeros(0, dtype=np.int32), *arrays]), lengths
