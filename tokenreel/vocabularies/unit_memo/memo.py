"""Encodes blocks of text with SentencePiece by looking up what was encoded before.

A block is cut wherever no piece of the vocabulary can lie across (`sentencepiece.model.find_cuts`). The parts, *units*, are encoded
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
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies.base import Encoded
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.sentencepiece.model import Cuts, Model
from tokenreel.vocabularies.unit_memo import lookups
from tokenreel.vocabularies.unit_memo.model_arrays import Merges, Unigram, split, to_arrays, trie_of
from tokenreel.vocabularies.unit_memo.unit_table import EMPTY, NONE, Bytes, EncodedUnits, Entries, Table, pick
from tokenreel.vocabularies.unit_memo.worth import TRIAL_BYTES, Worth

_MOST_BYTES = 1 << 31  # of a document: units are counted and placed in int32


class UnitMemo:
    """Encodes documents with one model. Threads share it; ids do not depend on what it holds.

    Attributes:
      encoded_bytes: bytes of text that were encoded; the rest was looked up.
    """

    def __init__(self, data: bytes, model: Model, cuts: Cuts, memo_bytes: int) -> None:
        """Loads the model into the library and into the arrays of the kernels.

        Args:
          data: of the .model file.
          model: what it says.
          cuts: where its texts may be cut, from `find_cuts`.
          memo_bytes: most memory for the memo. When it is full it is emptied, and fills again.
        """
        import sentencepiece

        load = sentencepiece.SentencePieceProcessor
        self._library = load(model_proto=data)
        self._normalized = load(model_proto=data + sentencepiece_model.NORMALIZED)  # for text that is normalised already
        self._cuts, self._memo_bytes = cuts, memo_bytes
        self._unigram = Unigram(model) if model.kind == sentencepiece_model.UNIGRAM else None
        self._merges = Merges(model, self._normalized) if sentencepiece_model.is_plain_bpe(model) else None
        self._normalizer = (
            model.rules.trie,
            np.frombuffer(model.rules.replacements, dtype=np.uint8),
            int(model.rules.out_bytes.max(initial=0)),
            trie_of(model, model.types == sentencepiece_model.USER_DEFINED),
            model.dummy_prefix,
            model.collapse,
        )
        self._squeezed = np.frombuffer(cuts.plain_spaces or bytes(256), dtype=np.bool_)
        self._lock = threading.Lock()
        self._table = EMPTY
        # Seconds a new unit and each of its bytes take, here and in the library; measured, and right to a factor of two.
        self._worth = Worth(0.3e-6, 18e-9) if self._unigram or self._merges else Worth(1.2e-6, 60e-9)
        self.encoded_bytes = 0

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the memo takes."""
        return self._table.nbytes

    def encode_block(self, text: Bytes, offsets: Ints) -> Encoded:
        """Encodes documents as `Vocabulary.encode_block` does, slice by slice as `Worth` decides.

        Args:
          text: [bytes] uint8, valid UTF-8, documents end to end.
          offsets: [n + 1] int64 their bounds.

        Returns:
          int32 ids end to end, and the [n] int64 number of ids of each document.
        """
        arrays: list[npt.NDArray[np.int32]] = []
        lengths: list[Ints] = []
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
        return np.concatenate([NONE.ids, *arrays]), np.concatenate([np.zeros(0, dtype=np.int64), *lengths])

    def _take_pace(self, text: Bytes) -> None:
        """Lets the library encode a part of a document, less the characters that are cut at its ends, for the time alone."""
        starts = (text & 0xC0) != 0x80  # bytes that begin a character
        text = text[int(np.argmax(starts)) : len(text) - int(np.argmax(starts[::-1])) - 1]
        began = time.process_time()
        _encode_each(self._library, text, np.array([0, len(text)], dtype=np.int64))
        self._worth.timed(False, time.process_time() - began, self._worth.SAMPLE_BYTES)

    def _encode_slice(self, text: Bytes, offsets: Ints) -> Encoded | None:
        """Encodes documents by looking up; None if too much of them is new."""
        from tokenreel.vocabularies.unit_memo.kernels.units import count_ids, cut_documents, gather_ids

        if len(text) >= _MOST_BYTES:
            return None
        cut_text, bounds, first, hashes, flags, with_symbol = cut_documents(text, offsets, self._cuts.allowed, self._squeezed)
        table = self._table  # as it is now: other threads replace it
        known = table.units
        entries, new_units = table.look_up(cut_text, bounds, hashes, flags)
        if not self._goes_on(len(text), len(entries), bounds[new_units + 1] - bounds[new_units]):
            return None
        new = self._encode_units(cut_text, bounds, flags, new_units) if len(new_units) else NONE
        lookups.add(len(entries) - len(new_units), len(new_units))

        counts = count_ids(entries, first, known.id_bounds, new.id_bounds)
        by_library = np.flatnonzero(with_symbol)  # the normaliser confuses it with the spaces it writes
        again: list[tuple[Ints, npt.NDArray[np.int32], Ints]] = []  # documents, and what takes the place of their units' ids
        if len(by_library):
            again.append((by_library, *encode_documents(self._library, *ragged.take(text, offsets, by_library))))
        if self._unigram:
            documents = self._unigram.in_doubt(entries, first, known, new)
            documents = documents[~with_symbol[documents]]
            if len(documents):
                again.append((documents, *self._unigram.segment_again(documents, entries, first, known, new)))
        kept = np.ones(len(counts), dtype=bool)
        for documents, _, lengths in again:
            counts[documents], kept[documents] = lengths, False
        bounds_out = ragged.offsets_of(counts)
        out = np.empty(int(bounds_out[-1]), dtype=np.int32)
        gather_ids(entries, first, known.ids, known.id_bounds, new.ids, new.id_bounds, np.flatnonzero(kept), bounds_out, out)
        for documents, ids, lengths in again:
            for document, part in zip(documents.tolist(), np.split(ids, np.cumsum(lengths)[:-1]), strict=True):
                out[bounds_out[document] : bounds_out[document + 1]] = part
        if len(new_units):
            self._keep(hashes[new_units], new, table)
        return out, counts

    def _goes_on(self, text_bytes: int, units: int, new_sizes: Entries) -> bool:
        """Tells whether looking a slice up is worth it, of which so many bytes and units are to be looked up and [new] sizes encoded."""
        from tokenreel.vocabularies.unit_memo.kernels.bpe import MOST_MERGED

        new_bytes = int(new_sizes.sum())
        long_bytes = int(new_sizes[new_sizes > MOST_MERGED].sum()) if self._merges else 0
        if not self._worth.report(units, text_bytes, len(new_sizes), new_bytes, long_bytes):
            return False
        self.encoded_bytes += new_bytes
        return True

    def _keep(self, hashes: npt.NDArray[np.uint64], new: EncodedUnits, seen: Table) -> None:
        """Puts units into the table of now that another one, seen before, did not hold; leaves out those that other threads put there."""
        with self._lock:
            table = self._table
            if table is not seen:
                entries, fresh = table.look_up(new.text, new.text_bounds.astype(np.int32), hashes, new.flags)
                if len(fresh) < len(entries):
                    hashes, new = hashes[fresh], pick(new, fresh)
            grown = table.added(hashes, new, self._memo_bytes)
            if grown is None:  # full: begin afresh
                grown = EMPTY.added(hashes, new, self._memo_bytes) or EMPTY
            self._table = grown

    def _encode_units(self, text: Bytes, bounds: npt.NDArray[np.int32], flags: Bytes, units: Entries) -> EncodedUnits:
        """Encodes units that were not seen before: [k] int32 indices into what `cut_documents` gave (a text, bounds and flags)."""
        from tokenreel.vocabularies.unit_memo.kernels.normalizer import normalize
        from tokenreel.vocabularies.unit_memo.kernels.units import take_sequences

        unit_text, text_bounds = take_sequences(text, bounds, units)
        spelling, spelling_bounds = normalize(text, bounds, units, flags, *self._normalizer)
        found = NONE._replace(flags=flags[units], text=unit_text, text_bounds=text_bounds)
        if self._unigram:
            return found._replace(spelling=spelling, spelling_bounds=spelling_bounds, **self._unigram.segment(spelling, spelling_bounds))
        if self._merges:
            ids, id_bounds = self._merges.encode(spelling, spelling_bounds)
            return found._replace(ids=ids, id_bounds=id_bounds)
        spelled = split(spelling, spelling_bounds, np.arange(len(units)))
        ids, lengths = to_arrays(self._normalized.encode(spelled, num_threads=1))
        return found._replace(ids=ids, id_bounds=ragged.offsets_of(lengths))


def load(data: bytes, memo_bytes: int) -> UnitMemo | None:
    """Makes the memo for a .model file.

    Args:
      data: of the file.
      memo_bytes: most memory for the memo.

    Returns:
      None if only whole documents show what the model does, if it cannot be read, or where Numba is not installed.
    """
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


def encode_documents(processor: Any, text: Bytes, offsets: Ints) -> Encoded:
    """Encodes whole documents, [bytes] uint8 and [n + 1] int64 bounds, with the library; gives int32 ids and [n] int64 lengths."""
    return _join(_encode_each(processor, text, offsets))


def _encode_each(processor: Any, text: Bytes, offsets: Ints) -> list[npt.NDArray[np.int32]]:
    """Gives the ids of each document, as arrays: without an object for each token."""
    arrays: list[npt.NDArray[np.int32]] = []
    start = 0
    while start < len(offsets) - 1:  # in portions that fit the cache
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + TRIAL_BYTES, side="right")) - 1)
        data = text[offsets[start] : offsets[stop]].tobytes()
        bounds = (offsets[start : stop + 1] - offsets[start]).tolist()
        arrays += processor.encode([data[a:b] for a, b in itertools.pairwise(bounds)], num_threads=1, return_type="numpy")
        start = stop
    return arrays


def _join(arrays: Sequence[npt.NDArray[np.int32]]) -> Encoded:
    lengths = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
    return np.concatenate([np.zeros(0, dtype=np.int32), *arrays]), lengths
