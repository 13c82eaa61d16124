"""Encodes blocks of text with a SentencePiece model by looking up what was encoded before.

A block is cut wherever no piece of the vocabulary can lie across (`sentencepiece.model.find_cuts`). The parts, *units*, are encoded
independently of each other, and natural text repeats them (Zipf 1949): only distinct units not seen before are encoded, by the model's own
rules, and the ids of all others are copied from a table. Tables belong to one call of `encode_block` at a time: a thread takes one that no
other uses, or begins a new one. So the loop that looks units up also writes them, without a lock.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import itertools
import threading
from collections.abc import Callable, Iterator
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
from tokenreel.vocabularies.unit_memo.slot_table import Bytes, Ids, SlotTable

_MOST_BYTES = 1 << 31  # of a document: units are placed in int32
_SPELLING_BYTES = 1 << 12  # of a normalised unit at first, beside those that it has in the text
_LONG_WORD = 200  # bytes; if words are longer, there is hardly anything to look up, and the library is faster
_TUPLES = "cutter", "normalizer", "model"  # what the kernels take, as it is kept
_NO_IDS: Ids = np.zeros(0, dtype=np.int32)
_NO_LENGTHS = np.zeros(0, dtype=np.int64)
_KERNELS = "tokenreel.vocabularies.unit_memo.kernels"
_SLICE_BYTES = 1 << 18  # text encoded at once: what is written beside its result stays in the cache


class _Growing:
    """Arrays of int32, side by side, that are written from the front: none is written twice, as parts that are joined are.

    Attributes:
      size: how many numbers of each are written.
    """

    def __init__(self, count: int, most: int) -> None:
        """Makes so many arrays, with room for what is likely to be the most."""
        self._arrays = [np.empty(most, dtype=np.int32) for _ in range(count)]
        self.size = 0

    def room(self, count: int) -> list[Ids]:
        """Gives the places behind what is written, so many of each array at least."""
        if self.size + count > len(self._arrays[0]):
            larger = max(self.size + count, 2 * len(self._arrays[0]))
            self._arrays = [np.concatenate([array[: self.size], np.empty(larger - self.size, dtype=np.int32)]) for array in self._arrays]
        return [array[self.size :] for array in self._arrays]

    def take(self) -> list[Ids]:
        """Gives what is written, and the memory behind it back."""
        for array in self._arrays:
            array.resize(self.size, refcheck=False)
        return self._arrays


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
        self._lead = len(self._model[5]) - 1 if self._is_unigram else len(self._model[4])  # in place of an id; see `kernels.piece_words`
        self._lock = threading.Lock()
        self._tables: dict[bool, list[SlotTable]] = {False: [], True: []}  # that no thread uses now: of ids, and of words
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
            return sum(table.nbytes for tables in self._tables.values() for table in tables)

    def encode_block(self, text: Bytes, offsets: Ints) -> Encoded:
        """Encodes documents as `Vocabulary.encode_block` does.

        Args:
          text: [bytes] uint8, valid UTF-8, documents end to end.
          offsets: [n + 1] int64 their bounds.

        Returns:
          int32 ids end to end, and the [n] int64 number of ids of each document.
        """
        result = _Growing(1, len(text) // 2)
        lengths = [_NO_LENGTHS]
        with self._table(spans=False) as table:
            for part in _slices(text, offsets):
                ids, counts = self._encode(table, *part)
                result.room(len(ids))[0][: len(ids)] = ids
                result.size += len(ids)
                lengths.append(counts)
        return result.take()[0], np.concatenate(lengths)

    def encode_with_spans(self, text: Bytes, offsets: Ints) -> tuple[Ids, Ints, Ids, Ids, npt.NDArray[np.bool_]]:
        """Encodes documents and says where their tokens lie; arguments as for `encode_block`.

        Returns:
          int32 ids end to end, the [n] int64 number of ids of each document, int32 begins and ends in characters of the document, and [n]
          bool for which documents all that is right; only the library knows the others.
        """
        result = _Growing(3, len(text) // 2)
        lengths, right = [_NO_LENGTHS], [_NO_LENGTHS > 0]
        with self._table(spans=True) as table:
            for part in _slices(text, offsets):
                counts, known = self._encode_with_spans(table, *part, result)
                lengths.append(counts)
                right.append(known)
        ids, begins, ends = result.take()
        return ids, np.concatenate(lengths), begins, ends, np.concatenate(right)

    @contextlib.contextmanager
    def _table(self, *, spans: bool) -> Iterator[SlotTable]:
        """Gives a table of ids, or of words with spans, that no other thread uses."""
        with self._lock:
            table = self._tables[spans].pop() if self._tables[spans] else None
            self._count += table is None
        table = table or SlotTable()
        try:
            yield table
        finally:
            with self._lock:
                self._tables[spans].append(table)

    def _are_for_the_library(self, text: Bytes) -> bool:
        """Whether documents are too long to be placed, or the library is faster with them."""
        return len(text) >= _MOST_BYTES or (self._is_words and int(np.count_nonzero(text == ord(" "))) * _LONG_WORD < len(text))

    def _encode(self, table: SlotTable, text: Bytes, offsets: Ints) -> Encoded:
        """Encodes some of the documents."""
        from tokenreel.vocabularies.unit_memo.kernels.documents import cut_documents
        from tokenreel.vocabularies.unit_memo.kernels.piece_words import ASK

        if self._are_for_the_library(text):
            return encode_documents(self._library, text, offsets)
        ids, counts = self._encode_units(table, *cut_documents(np.ascontiguousarray(text), offsets, self._cutter), spans=False)
        asked = ids == ASK
        return self._ask(text, offsets, ids, counts, asked) if asked.any() else (ids, counts)

    def _encode_with_spans(self, table: SlotTable, text: Bytes, offsets: Ints, result: _Growing) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Does what `encode_with_spans` does for some of the documents: ids, begins and ends go behind those that `result` has."""
        from tokenreel.vocabularies.unit_memo.kernels import piece_spans, piece_words
        from tokenreel.vocabularies.unit_memo.kernels.documents import cut_with_dropped

        lengths, right = np.zeros(len(offsets) - 1, dtype=np.int64), np.ones(len(offsets) - 1, dtype=bool)
        if self._are_for_the_library(text) or self._lead >= piece_words.MOST_PIECES:
            return lengths, ~right
        units, starts, first, *dropped = cut_with_dropped(np.ascontiguousarray(text), offsets, self._cutter)
        words, counts = self._encode_units(table, units, starts, first, spans=True)
        unknown, byte_ids = (self._model[2], self._model[4]) if self._is_unigram else (self._model[9], self._model[8])
        joined = piece_words.NO_ID if len(byte_ids) else int(unknown)
        piece_spans.find_spans(words, counts, joined, units, starts, first, *dropped, *result.room(len(words)), lengths, right)
        result.size += int(lengths.sum())
        return lengths, right

    def _encode_units(self, table: SlotTable, units: Bytes, starts: Ids, first: Ints, *, spans: bool) -> Encoded:
        """Encodes what `cut_documents` gave: ids, or words with spans; they lie in an array that is longer."""
        from tokenreel.vocabularies.unit_memo.kernels import slots

        counts, progress, sums = np.zeros(len(first) - 1, dtype=np.int64), np.zeros(5, dtype=np.int64), np.zeros(1, dtype=np.float32)
        encode, carried = self._loop(spans), (sums,) if self._is_unigram else ()
        spelling, work = self._make_work(_SPELLING_BYTES + int(np.diff(starts).max(initial=0)))
        out = np.empty(len(units) + slots.MOST_IDS, dtype=np.int32)
        looks_up = table.begin_slice()
        while True:
            arguments = units, starts, first, self._normalizer, self._model, self._lead, table.arrays, progress, *carried
            status = encode(*arguments, looks_up, table.batch, spelling, work, out, counts)
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
        return out[: int(progress[2])], counts

    def _loop(self, spans: bool) -> Callable[..., int]:
        """Gives the kernel that encodes units: only the one that is used is loaded."""
        name = ("unigram" if self._is_unigram else "bpe") + ("_spans" if spans else "")
        encode: Callable[..., int] = importlib.import_module(f"{_KERNELS}.{name}").encode
        return encode

    def _make_work(self, size: int) -> tuple[Bytes, model_arrays.Arrays]:
        """Makes the arrays in which the kernels take notes on a normalised unit of so many bytes."""
        kinds = [np.float32, np.float32, np.int32, np.int32] if self._is_unigram else [np.int32, np.int32, np.uint64, np.int32, np.int32]
        work = [np.empty(size + 1, dtype=kind) for kind in kinds]
        heap = [] if self._is_unigram else [np.empty(3 * size + 2, dtype=np.uint64)]
        places = [np.empty(size + 1, dtype=np.int32) for _ in range(2)]
        return np.empty(size, dtype=np.uint8), (*work, *heap, *places)

    def _ask(self, text: Bytes, offsets: Ints, ids: Ids, counts: Ints, asked: npt.NDArray[np.bool_]) -> Encoded:
        """Lets the library encode the documents that only it can: those of which an id is asked for."""
        which = ragged.holding(counts, asked)
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


def _slices(text: Bytes, offsets: Ints) -> Iterator[tuple[Bytes, Ints]]:
    """Divides documents into some that fit the cache: their text, and their bounds in it."""
    for start, stop in ragged.portions(offsets, _SLICE_BYTES):
        yield text[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start]


def encode_documents(processor: Any, text: Bytes, offsets: Ints) -> Encoded:
    """Encodes whole documents, [bytes] uint8 and [n + 1] int64 bounds, with the library; gives int32 ids and [n] int64 lengths."""
    arrays: list[Ids] = []
    for part, at in _slices(text, offsets):
        data = part.tobytes()
        arrays += processor.encode([data[a:b] for a, b in itertools.pairwise(at.tolist())], num_threads=1, return_type="numpy")
    lengths = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
    return np.concatenate([_NO_IDS, *arrays]), lengths
