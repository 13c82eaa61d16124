"""Comparing one shard with its manifest: bytes, values, and what the provenance table says of them.

The values are counted on the way, so that the statistics can be checked without reading anything twice.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tokenreel import files, provenance_table, schema, segments, tfrecord
from tokenreel.damage import find_damage
from tokenreel.errors import ManifestError
from tokenreel.example_codec import decode_example
from tokenreel.manifest import FIXED, Manifest, ShardInfo
from tokenreel.provenance_table import DOC_ID, DOC_TOKEN_START, EXAMPLE, LENGTH, SEGMENT

COPY_AGAIN = "Copy the file again from where it was built."
_CHUNK_BYTES = 4 << 20
_LISTED_ONE_BY_ONE = 8  # a longer run of damaged records is one line


@dataclasses.dataclass
class Tally:
    """What the records of a split hold, counted from their values.

    Attributes:
      counts: [vocab_size] how often each id occurs among the real tokens.
      complete: whether every record could be counted.
      segments: in the provenance tables, None where a table is missing or damaged.
      continued: segments that do not begin their document.
      last_piece: document and end of the last piece of the shard before, None where that is not known.
    """

    vocab_size: int
    examples: int = 0
    tokens: int = 0
    document_starts: int = 0
    specials: dict[str, int] = dataclasses.field(default_factory=dict)
    counts: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    complete: bool = True
    segments: int | None = 0
    continued: int = 0
    last_piece: tuple[str, int] | None = None
    segment_lengths: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(64, dtype=np.int64))

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.vocab_size, dtype=np.int64)


class ShardCheck:
    """The checks of one shard; what its values amount to is added to a tally."""

    def __init__(
        self,
        directory: str,
        manifest: Manifest,
        shard: ShardInfo,
        first: int,
        split_examples: int,
        tally: Tally,
        provenance: str | None,
        note: Callable[[str], None],
    ) -> None:
        """Prepares the checks.

        Args:
          directory: of the dataset.
          manifest: of the dataset.
          shard: which shard.
          first: number of its first example in the split.
          split_examples: in all shards of the split.
          tally: of the split; what the shard holds is added to it.
          provenance: the shard's table, if it is there and intact.
          note: is told what could not be checked for lack of an optional package.
        """
        self._path = files.join(directory, shard.file)
        self._manifest, self._shard, self._first, self._tally = manifest, shard, first, tally
        self._directory, self._provenance, self._note = directory, provenance, note
        packing = manifest.config.get("packing", {})
        self._align = int(packing.get("align") or 1)  # every segment takes a multiple of so many positions
        # Each of the static copies that `variants` makes begins anew, so its first example repeats no token.
        self._variant_examples = max(1, split_examples // int(manifest.config.get("variants", 1)))
        causal = manifest.config.get("objective", {}).get("name") == "causal_lm"
        self._wraps = packing.get("mode") == "wrap"
        self._overlaps = manifest.overlap == 1 and self._wraps and causal
        self._last_token: int | None = None  # of the record before, if it was sound and full
        self._before: tuple[str, int] | None = None
        self._crc = 0
        self._lengths: list[npt.NDArray[np.int64]] = []  # positions up to the last token of each record, chunk by chunk
        self._tokens: list[npt.NDArray[np.int64]] = []  # real tokens of each record
        self._starts: list[npt.NDArray[np.int64]] = []  # flat positions of document starts
        self._sound = True

    def check(self) -> Iterator[str]:
        """Yields what differs."""
        self._before, self._tally.last_piece = self._tally.last_piece, None
        try:
            with files.open_read(self._path) as file:
                yield from self._check_fixed(file) if self._manifest.record_format == FIXED else self._check_lists(file)
        except OSError as error:
            self._sound = False
            yield f"{self._shard.file}: cannot be read ({error})"
        else:
            if self._crc != self._shard.crc32c:
                yield f"{self._shard.file}: crc32c is {self._crc:#010x}, the manifest says {self._shard.crc32c:#010x}. {COPY_AGAIN}"
        if not self._sound:
            self._tally.complete = False
            self._tally.segments = None
        elif self._provenance is not None:
            yield from self._check_provenance()

    def _where(self, row: int) -> str:
        at = f" at byte {row * self._manifest.layout.record_bytes:,}" if self._manifest.record_format == FIXED else ""
        return f"{self._shard.file}: record {row:,}{at}"

    def _read(self, file: IO[bytes], size: int) -> bytes:
        """Reads `size` bytes, fewer at the end of the file only."""
        import google_crc32c

        parts = []
        while size and (data := file.read(size)):
            parts.append(data)
            size -= len(data)
            self._crc = google_crc32c.extend(self._crc, data)
        return b"".join(parts)

    def _check_fixed(self, file: IO[bytes]) -> Iterator[str]:
        layout = self._manifest.layout
        size = layout.record_bytes
        per_chunk = max(1, _CHUNK_BYTES // size)
        row = 0
        while row < self._shard.records and (data := self._read(file, min(per_chunk, self._shard.records - row) * size)):
            records = np.frombuffer(data, dtype=np.uint8, count=len(data) // size * size).reshape(-1, size)
            damage = dict(find_damage(layout, records))
            yield from self._describe_damage(damage, row)
            arrays = layout.decode(records)
            if damage:
                self._sound = False
                sound = np.setdiff1d(np.arange(len(records)), np.fromiter(damage, dtype=np.int64))
                self._last_token = None
                arrays = {name: values[sound] for name, values in arrays.items()}
                yield from self._check_values(arrays, row + sound)
            else:
                yield from self._check_values(arrays, np.arange(row, row + len(records)))
            row += len(records)
            if len(data) % size:
                yield f"{self._where(row)}: the file ends {len(data) % size:,} bytes into it"
                break
        if row < self._shard.records:
            self._sound = False
            yield f"{self._shard.file}: holds {row:,} whole records, the manifest says {self._shard.records:,}. {COPY_AGAIN}"
        yield from self._check_end(file)

    def _check_end(self, file: IO[bytes]) -> Iterator[str]:
        extra = 0
        while data := self._read(file, _CHUNK_BYTES):
            extra += len(data)
        if extra:
            yield f"{self._shard.file}: {extra:,} bytes follow the {self._shard.records:,} records that the manifest knows"

    def _describe_damage(self, damage: Mapping[int, str], first: int) -> Iterator[str]:
        for run in _runs(np.fromiter(damage, dtype=np.int64, count=len(damage))):
            if len(run) <= _LISTED_ONE_BY_ONE:
                yield from (f"{self._where(first + row)}: {damage[row]}" for row in run.tolist())
            else:
                size = self._manifest.layout.record_bytes
                yield (
                    f"{self._shard.file}: records {first + run[0]:,} to {first + run[-1]:,}, bytes {(first + run[0]) * size:,} to "
                    f"{(first + run[-1] + 1) * size - 1:,}: none of these {len(run):,} records is what was written. The first: "
                    f"{damage[int(run[0])]}"
                )

    def _check_lists(self, file: IO[bytes]) -> Iterator[str]:
        """Reads records of varying length; after an altered length nothing can be found."""
        features = {feature.name: feature for feature in self._manifest.features}
        offset = row = 0
        rows: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in features}
        numbers: list[int] = []
        while row < self._shard.records and (head := self._read(file, tfrecord.HEADER_BYTES)):
            where = f"{self._shard.file}: record {row:,} at byte {offset:,}"
            if len(head) < tfrecord.HEADER_BYTES or struct.unpack("<I", head[8:])[0] != tfrecord.masked_crc32c(head[:8]):
                yield f"{where}: its length or the length's CRC was altered or cut off, so nothing behind it can be read"
                break
            (length,) = struct.unpack("<Q", head[:8])
            body = self._read(file, length + tfrecord.FOOTER_BYTES)
            if len(body) < length + tfrecord.FOOTER_BYTES:
                yield f"{where}: the file ends inside it"
                break
            problem, arrays = _parse_lists(body[:length], struct.unpack("<I", body[length:])[0], features)
            if problem:
                self._sound = False
                self._last_token = None
                yield f"{where}: {problem}"
            else:
                numbers.append(row)
                for name, values in arrays.items():
                    rows[name].append(values)
            offset += tfrecord.HEADER_BYTES + len(body)
            row += 1
            if len(numbers) * self._manifest.layout.record_bytes >= _CHUNK_BYTES:
                yield from self._check_values({name: np.stack(values) for name, values in rows.items()}, np.array(numbers))
                rows, numbers = {name: [] for name in features}, []
        if numbers:
            yield from self._check_values({name: np.stack(values) for name, values in rows.items()}, np.array(numbers))
        if row < self._shard.records:
            self._sound = False
            yield f"{self._shard.file}: {row:,} records can be read, the manifest says {self._shard.records:,}. {COPY_AGAIN}"
        yield from self._check_end(file)

    def _check_values(self, arrays: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]) -> Iterator[str]:
        """Checks and counts the values of sound records.

        Args:
          arrays: [n, ...] values.
          rows: [n] which records of the shard they are.
        """
        if not len(rows):
            return
        manifest, tally = self._manifest, self._tally
        tally.examples += len(rows)
        ids = arrays[schema.EXAMPLE_ID]
        for run in _runs(np.flatnonzero(ids != self._first + rows)):
            at = int(run[0])
            yield (
                f"{self._where(int(rows[at]))}: {schema.EXAMPLE_ID} is {int(ids[at]):,}, its place in the split is "
                f"{self._first + int(rows[at]):,}{_and_more(run)}"
            )
        yield from self._check_made(arrays, rows)
        if schema.TOKENS not in arrays:  # an objective replaced them by inputs and targets
            return
        tokens = arrays[schema.TOKENS]
        starts = arrays.get(schema.DOCUMENT_STARTS, np.zeros(tokens.shape, dtype=bool)).astype(bool)
        width = tokens.shape[1]
        lengths = arrays.get(schema.NUM_TOKENS, np.full(len(rows), width)).astype(np.int64)
        wrong_lengths = (lengths < 1) | (lengths > width)
        for run in _runs(np.flatnonzero(wrong_lengths)):
            at = int(run[0])
            yield f"{self._where(int(rows[at]))}: {schema.NUM_TOKENS} is {int(lengths[at]):,}, not in 1 to {width:,}{_and_more(run)}"
        lengths = np.clip(lengths, 0, width)
        behind = None if (lengths == width).all() else np.arange(width) >= lengths[:, None]
        padding = behind if self._align == 1 else segments.segment_ids(starts, lengths, self._align) == 0
        wrong = (tokens < 0) | (tokens >= manifest.vocabulary.vocab_size)
        if padding is not None:
            wrong &= ~padding
        for run, column in _runs_of_rows(wrong):
            yield (
                f"{self._where(int(rows[run[0]]))}: token {int(tokens[run[0], column]):,} at position {column:,} is none of the "
                f"vocabulary's {manifest.vocabulary.vocab_size:,} ids{_and_more(run)}"
            )
        if padding is not None:
            for run, column in _runs_of_rows(padding & (tokens != manifest.pad_id)):
                yield (
                    f"{self._where(int(rows[run[0]]))}: position {column:,} is padding and holds "
                    f"{int(tokens[run[0], column]):,} instead of the pad id {manifest.pad_id}{_and_more(run)}"
                )
        if behind is not None:
            for run, column in _runs_of_rows(behind & starts):
                yield (
                    f"{self._where(int(rows[run[0]]))}: a document starts at position {column:,}, behind the "
                    f"{int(lengths[run[0]]):,} tokens{_and_more(run)}"
                )
        if schema.TOKEN_BEGINS in arrays:
            yield from self._check_spans(arrays, padding, starts, rows)
        if self._overlaps:
            yield from self._check_overlap(tokens, lengths, rows)
        real_tokens = lengths if padding is None else width - np.count_nonzero(padding, axis=1)
        tally.tokens += int(real_tokens.sum())
        tally.document_starts += int(np.count_nonzero(starts))
        tokens = _unmasked(arrays)
        real = tokens[~padding] if padding is not None else tokens.ravel()
        tally.counts += np.bincount(np.clip(real, 0, tally.vocab_size), minlength=tally.vocab_size + 1)[: tally.vocab_size]
        for name in ("bos", "eos", "pad", "unk"):
            number = getattr(manifest.vocabulary, f"{name}_id")
            if number is not None:
                tally.specials[name] = tally.specials.get(name, 0) + int(np.count_nonzero((tokens == number).any(axis=1)))
        if self._provenance is not None:
            self._lengths.append(lengths)
            self._tokens.append(real_tokens)
            self._starts.append(np.flatnonzero(starts) + int(rows[0]) * width)  # only used where no record is damaged

    def _check_made(self, arrays: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]) -> Iterator[str]:
        """Checks what an objective made: ids that the vocabulary has, and masked positions that hold tokens."""
        size = self._manifest.vocabulary.vocab_size
        for name in ("inputs", "targets", "mask_ids"):
            if name in arrays:
                values = arrays[name].reshape(len(rows), -1)
                for run, column in _runs_of_rows((values < 0) | (values >= size)):
                    at = int(run[0])
                    yield (
                        f"{self._where(int(rows[at]))}: {name} holds {int(values[at, column]):,}, none of the vocabulary's {size:,} ids"
                        f"{_and_more(run)}"
                    )
        if "mask_positions" in arrays and schema.TOKENS in arrays:
            width = arrays[schema.TOKENS].shape[1]
            lengths = arrays.get(schema.NUM_TOKENS, np.full(len(rows), width))
            positions = arrays["mask_positions"].astype(np.int64)
            used = arrays.get("mask_weights", np.ones(positions.shape)) > 0
            for run, column in _runs_of_rows(used & ((positions < 0) | (positions >= lengths[:, None]))):
                at = int(run[0])
                yield (
                    f"{self._where(int(rows[at]))}: mask_positions holds {int(positions[at, column]):,}, the example "
                    f"{int(lengths[at]):,} tokens{_and_more(run)}"
                )

    def _check_spans(
        self,
        arrays: Mapping[str, npt.NDArray[Any]],
        padding: npt.NDArray[np.bool_] | None,
        starts: npt.NDArray[np.bool_],
        rows: npt.NDArray[np.int64],
    ) -> Iterator[str]:
        """Checks that spans are ranges, that what is no text has none, and that they follow each other within a document."""
        begins, ends = arrays[schema.TOKEN_BEGINS], arrays[schema.TOKEN_ENDS]
        none = (begins == -1) & (ends == -1)
        without_text = np.zeros(begins.shape, dtype=bool) if padding is None else padding.copy()
        tokens = _unmasked(arrays)
        for number in (self._manifest.vocabulary.bos_id, self._manifest.vocabulary.eos_id):
            if number is not None:
                without_text |= tokens == number
        follows = ~none[:, 1:] & ~none[:, :-1] & ~starts[:, 1:]
        # The one changes the order of the text; the other promises nothing of the kind.
        if (
            self._manifest.config.get("objective", {}).get("name") == "fill_in_the_middle"
            or self._manifest.vocabulary.kind == "huggingface"
        ):
            follows[:] = False
        backwards = np.zeros(begins.shape, dtype=bool)
        backwards[:, 1:] = follows & ((begins[:, 1:] < begins[:, :-1]) | (ends[:, 1:] < ends[:, :-1]))
        for wrong, what in (
            (~none & ((begins < 0) | (ends < begins)), "which is no range of characters"),
            (without_text & ~none, "though no text stands there"),
            (backwards, "before that of the token before it"),
        ):
            for run, column in _runs_of_rows(wrong):
                at = int(run[0])
                yield (
                    f"{self._where(int(rows[at]))}: the token at position {column:,} has the characters {int(begins[at, column]):,} to "
                    f"{int(ends[at, column]):,}, {what}{_and_more(run)}"
                )

    def _check_overlap(self, tokens: npt.NDArray[Any], lengths: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Iterator[str]:
        before = np.empty(len(rows), dtype=np.int64)  # last token of the record before, -1 where it is not known
        before[0] = -1 if self._last_token is None else self._last_token
        before[1:] = np.where((lengths[:-1] == tokens.shape[1]) & (np.diff(rows) == 1), tokens[:-1, -1].astype(np.int64), -1)
        wrong = (before >= 0) & (before != tokens[:, 0]) & ((self._first + rows) % self._variant_examples > 0)
        for run in _runs(np.flatnonzero(wrong)):
            at = int(run[0])
            yield (
                f"{self._where(int(rows[at]))}: begins with token {int(tokens[at, 0]):,}, but the record before ends with "
                f"{int(before[at]):,}; with an overlap of one they must be the same{_and_more(run)}"
            )
        self._last_token = int(tokens[-1, -1]) if lengths[-1] == tokens.shape[1] else None

    def _check_provenance(self) -> Iterator[str]:
        name = str(self._provenance)
        columns = [EXAMPLE, SEGMENT, DOC_TOKEN_START, LENGTH, DOC_ID]
        try:
            rows = provenance_table.read(self._directory, name, columns)
        except ModuleNotFoundError as error:
            self._tally.segments = None
            self._note(f"{name}: not compared with the records ({error})")
            return
        except (ManifestError, OSError) as error:
            self._tally.segments = None
            yield f"{name}: no readable table ({str(error.__cause__ or error).splitlines()[0]})"
            return
        example, segment, start, length = (column.to_numpy().astype(np.int64) for column in map(rows.column, columns[:4]))
        none = np.zeros(0, dtype=np.int64)
        lengths, tokens, starts = (np.concatenate(parts or [none]) for parts in (self._lengths, self._tokens, self._starts))
        example -= self._first
        outside = np.flatnonzero((example < 0) | (example >= self._shard.records))
        order = np.flatnonzero((np.diff(example) < 0) | ((np.diff(example) == 0) & (np.diff(segment) != 1)))
        first = np.append(True, np.diff(example) != 0)[: len(example)]
        if len(outside):
            row = int(outside[0])
            yield f"{name}: row {row:,} names example {example[row] + self._first:,}, which {self._shard.file} does not hold"
        elif len(order) or (segment[first] != 0).any():
            yield f"{name}: its rows are not sorted by example and segment, or a segment is missing"
        elif (length < 1).any() or (start < 0).any():
            row = int(np.flatnonzero((length < 1) | (start < 0))[0])
            yield f"{name}: row {row:,} describes {length[row]:,} tokens from token {start[row]:,} of its document on"
        else:
            held = np.bincount(example, weights=length, minlength=self._shard.records).astype(np.int64)
            if len(tokens):
                yield from self._check_segments(name, example, first, start, length, held, lengths, tokens, starts)
            else:
                for run in _runs(np.flatnonzero(held == 0)):
                    yield f"{name}: has no segment of example {int(run[0]) + self._first:,}{_and_more(run)}"
            if self._wraps:
                yield from self._check_continuity(name, rows.column(DOC_ID), example, start, length)
        if self._tally.segments is not None:
            self._tally.segments += len(example)
            self._tally.continued += int(np.count_nonzero(start))
            digits = np.frexp(length.astype(np.float64))[1]
            self._tally.segment_lengths += np.bincount(np.maximum(digits, 0), minlength=64)[:64]

    def _check_segments(
        self,
        name: str,
        example: npt.NDArray[np.int64],
        first: npt.NDArray[np.bool_],
        start: npt.NDArray[np.int64],
        length: npt.NDArray[np.int64],
        held: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        tokens: npt.NDArray[np.int64],
        starts: npt.NDArray[np.int64],
    ) -> Iterator[str]:
        """Compares the segments of the table with the lengths and the document starts of the records.

        Args:
          name: of the table.
          example: [segments] record.
          first: [segments] whether it is the record's first.
          start: [segments] its first token in the document.
          length: [segments] tokens.
          held: [records] tokens in the segments.
          lengths: [records] positions up to the last token.
          tokens: [records] real tokens.
          starts: sorted flat positions of the bits that are set.
        """
        width = self._manifest.layout.feature(schema.TOKENS).size
        special = 3 if self._manifest.config.get("packing", {}).get("mode") == "segment_pairs" else 0  # [CLS] and two [SEP]
        for run in _runs(np.flatnonzero(held + special != tokens)):
            at = int(run[0])
            yield (
                f"{name}: the segments of example {at + self._first:,} hold {held[at]:,} tokens, the record {tokens[at]:,}{_and_more(run)}"
            )
        if schema.DOCUMENT_STARTS not in (feature.name for feature in self._manifest.features):
            return
        room = -(-length // self._align) * self._align
        before = np.cumsum(room) - room
        place = before - np.repeat(before[first], np.diff(np.append(np.flatnonzero(first), len(first))))
        # A bit for every segment but one that continues a document at position 0, and for every gap that `align` leaves.
        expected = (example * width + place)[(place > 0) | (start == 0)]
        gaps = (room > length) & (place + length < lengths[example])
        expected = np.concatenate([expected, (example * width + place + length)[gaps]])
        for position in np.setdiff1d(expected, starts)[:_LISTED_ONE_BY_ONE].tolist():
            yield f"{self._where(position // width)}: {name} begins a document at position {position % width:,}, the record does not"
        for position in np.setdiff1d(starts, expected)[:_LISTED_ONE_BY_ONE].tolist():
            yield f"{self._where(position // width)}: begins a document at position {position % width:,}, {name} does not"

    def _check_continuity(
        self, name: str, documents: Any, example: npt.NDArray[np.int64], start: npt.NDArray[np.int64], length: npt.NDArray[np.int64]
    ) -> Iterator[str]:
        """Checks that a stream was cut and nothing else: a piece inside a document goes on where the one before ended."""
        import pyarrow.compute as pc

        if not len(example):
            return
        last_document, last_end = self._before or ("", 0)
        ends = np.append(last_end, (start + length)[:-1])
        same = np.append(documents[0].as_py() == last_document, pc.equal(documents[1:], documents[:-1]).to_numpy().astype(bool))
        shared = np.append(True, np.diff(example) != 0) * self._manifest.overlap
        # Each of the static copies that `variants` makes begins with a whole document.
        anew = (example + self._first) % self._variant_examples == 0
        anew &= np.append(True, np.diff(example) != 0)
        wrong = np.where(anew, start != 0, (start > 0) & ~(same & (start == ends - shared)))
        if self._before is None and not anew[0]:
            wrong[0] = False  # what comes before is not known
        for row in np.flatnonzero(wrong)[:_LISTED_ONE_BY_ONE].tolist():
            yield f"{name}: row {row:,} goes on with {documents[row].as_py()} at its token {start[row]:,}, the row before ends elsewhere"
        self._tally.last_piece = (documents[-1].as_py(), int(start[-1] + length[-1]))


def _unmasked(arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The tokens before any was masked."""
    tokens = arrays[schema.TOKENS]
    if not {"mask_positions", "mask_ids", "mask_weights"} <= set(arrays):
        return tokens
    tokens = tokens.copy()
    row, slot = np.nonzero(arrays["mask_weights"])
    position = np.clip(arrays["mask_positions"][row, slot], 0, tokens.shape[1] - 1)
    tokens[row, position] = arrays["mask_ids"][row, slot]
    return tokens


def _parse_lists(payload: bytes, stored_crc: int, features: Mapping[str, schema.Feature]) -> tuple[str, dict[str, npt.NDArray[Any]]]:
    """Parses one record of the int64_list format: what is wrong with it, or its arrays in their shapes."""
    if stored_crc != tfrecord.masked_crc32c(payload):
        return "its CRC does not match its bytes", {}
    try:
        arrays = decode_example(payload)
    except (ValueError, KeyError) as error:
        return f"no tf.train.Example ({error})", {}
    if set(arrays) != set(features):
        return f"holds the features {', '.join(sorted(arrays))}; the manifest says {', '.join(sorted(features))}", {}
    for name, feature in features.items():
        if len(arrays[name]) != feature.size:
            return f"feature {name!r} has {len(arrays[name]):,} values, the manifest says {feature.size:,}", {}
        if (arrays[name].dtype.kind == "f") != (feature.dtype == "float32") or arrays[name].dtype.kind not in "if":
            return f"feature {name!r} holds values of another type than {feature.dtype}", {}
        if feature.dtype == schema.BIT and not np.isin(arrays[name], (0, 1)).all():
            return f"feature {name!r} holds bits, and a value is neither 0 nor 1", {}
        arrays[name] = arrays[name].reshape(feature.shape)
    return "", arrays


def _runs(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Splits sorted numbers into runs of neighbours."""
    return np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []


def _runs_of_rows(wrong: npt.NDArray[np.bool_]) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Yields runs of the rows that hold a True, with the first one's column in the first row."""
    if not wrong.any():
        return
    for run in _runs(np.flatnonzero(wrong.any(axis=1))):
        yield run, int(wrong[run[0]].argmax())


def _and_more(run: npt.NDArray[np.int64]) -> str:
    return f", and so in the {len(run) - 1:,} records behind it" if len(run) > 1 else ""
