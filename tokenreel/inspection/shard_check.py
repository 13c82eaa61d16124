"""Compares one shard with its manifest: reads it once, finds damaged records, and has the sound ones checked and counted.

`record_checks` compares the values, `provenance_checks` what the provenance table says of them. The counts let the statistics be checked
without reading anything twice.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tokenreel.format import schema, tfrecord
from tokenreel.format.example_codec import decode_example, most_list_bytes
from tokenreel.format.manifest import FIXED
from tokenreel.format.record_damage import find_damage
from tokenreel.inspection import label_checks
from tokenreel.inspection.document_checks import RANGE, check_numbers
from tokenreel.inspection.label_checks import HeldLabels
from tokenreel.inspection.provenance_checks import (
    Ends,
    Held,
    Table,
    check_continuity,
    check_table,
    ends_of,
    find_misplaced_row,
    read_table,
)
from tokenreel.inspection.record_checks import Place, Records, check_overlap, check_values, stretches
from tokenreel.inspection.tally import Tally
from tokenreel.storage import files

COPY_AGAIN = "Copy the file again from where it was built."
_CHUNK_BYTES = 4 << 20
_LISTED_ONE_BY_ONE = 8  # a longer stretch of damaged records is one line


class ShardCheck:
    """The checks of one shard; what its values amount to is added to a tally.

    Attributes:
      ends: where its table begins and ends in a stream; None where that is not known.
      numbered: whether its table can be used to count documents.
      ranges: (variant, range of documents) of what the table names.
      table: if it is numbered.
    """

    def __init__(
        self,
        directory: str,
        place: Place,
        tally: Tally,
        provenance: str | None,
        note: Callable[[str], None],
        documents: int | None = None,
        read: IO[bytes] | None = None,
    ) -> None:
        """Prepares the checks.

        Args:
          directory: holds the dataset.
          place: the shard, and where it stands in its split.
          tally: what the shard holds is added to it.
          provenance: name of the shard's table, None if it is missing or damaged.
          note: is told what could not be checked for lack of an optional package.
          documents: of the split, as the statistics say; None where these are not to be compared with the table.
          read: the bytes of the shard's table, compared with the manifest; None reads them.
        """
        self.table: Table | None = None
        self._read_before = read
        self._documents = documents
        self.ends: Ends | None = None
        self.numbered = False
        self.ranges: list[tuple[int, int]] = []
        self._path = files.join(directory, place.shard.file)
        self._place, self._manifest, self._shard, self._tally = place, place.manifest, place.shard, tally
        self._directory, self._provenance, self._note = directory, provenance, note
        self._wraps = place.packing.get("mode") == "wrap"
        self._overlaps = self._manifest.overlap == 1 and self._wraps and place.objective == "causal_lm"
        self._last_token: int | None = None  # of the record before, if it was sound and full
        self._crc = 0
        self._held, self._held_labels = Held(), HeldLabels(place)
        self._sound = True

    def check(self) -> Iterator[str]:
        """Reads the shard once and yields a line for each difference."""
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
            self._tally.lose_segments()
        elif self._provenance is not None:
            yield from self._check_provenance(self._provenance)

    def _read(self, file: IO[bytes], size: int) -> bytes:
        """Reads `size` bytes, fewer at the end of the file only."""
        import google_crc32c

        parts = []
        # A read from a bucket or a pipe may give less than it was asked for; the CRC is of the file, so it is updated here.
        while size and (data := file.read(size)):
            parts.append(data)
            size -= len(data)
            self._crc = google_crc32c.extend(self._crc, data)
        return b"".join(parts)

    def _check_fixed(self, file: IO[bytes]) -> Iterator[str]:
        fixed_format = self._manifest.fixed_format
        size = fixed_format.record_bytes
        per_chunk = max(1, _CHUNK_BYTES // size)
        row = 0
        while row < self._shard.records and (data := self._read(file, min(per_chunk, self._shard.records - row) * size)):
            records = np.frombuffer(data, dtype=np.uint8, count=len(data) // size * size).reshape(-1, size)
            damage = dict(find_damage(fixed_format, records))
            yield from self._describe_damage(damage, row)
            arrays = fixed_format.decode(records)
            if damage:  # what a damaged record holds is not checked: its values would be named a second time
                self._sound = False
                sound = np.setdiff1d(np.arange(len(records)), np.fromiter(damage, dtype=np.int64))
                self._last_token = None
                arrays = {name: values[sound] for name, values in arrays.items()}
                yield from self._check_values(arrays, row + sound)
            else:
                yield from self._check_values(arrays, np.arange(row, row + len(records)))
            row += len(records)
            if len(data) % size:
                yield f"{self._place.where(row)}: the file ends {len(data) % size:,} bytes into it"
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
        for stretch in stretches(np.fromiter(damage, dtype=np.int64, count=len(damage))):
            if len(stretch) <= _LISTED_ONE_BY_ONE:
                yield from (f"{self._place.where(first + row)}: {damage[row]}" for row in stretch.tolist())
            else:
                size = self._manifest.fixed_format.record_bytes
                yield (
                    f"{self._shard.file}: records {first + stretch[0]:,} to {first + stretch[-1]:,}, bytes "
                    f"{(first + stretch[0]) * size:,} to {(first + stretch[-1] + 1) * size - 1:,}: none of these "
                    f"{len(stretch):,} records is what was written. The first: {damage[int(stretch[0])]}"
                )

    def _check_lists(self, file: IO[bytes]) -> Iterator[str]:
        """Reads records of varying length; after an altered length nothing can be found."""
        features = {feature.name: feature for feature in self._manifest.features}
        row = 0
        rows: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in features}
        numbers: list[int] = []
        frames = tfrecord.read_frames(functools.partial(self._read, file), most_list_bytes(self._manifest.fixed_format))
        for offset, payload, problem in itertools.islice(frames, self._shard.records):
            where = f"{self._shard.file}: record {row:,} at byte {offset:,}"
            if problem and not payload:
                yield f"{where}: {problem}"
                break
            if not problem:
                problem, arrays = _parse_lists(payload, features)
            if problem:
                self._sound = False
                self._last_token = None
                yield f"{where}: {problem}"
            else:
                numbers.append(row)
                for name, values in arrays.items():
                    rows[name].append(values)
            row += 1
            # By chunks, so that memory does not grow with the shard; the fixed format's record is about as large.
            if len(numbers) * self._manifest.fixed_format.record_bytes >= _CHUNK_BYTES:
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
        records = Records(place=self._place, arrays=arrays, rows=rows)
        yield from check_values(records)
        yield from label_checks.check_values(records)
        counts = self._tally.add(records)
        if self._overlaps:
            yield from check_overlap(records, self._last_token)
            self._last_token = int(records.tokens[-1, -1]) if records.lengths[-1] == records.tokens.shape[1] else None
        if self._provenance is not None and counts is not None:
            self._held.add(records, counts)  # only used where no record is damaged
            self._held_labels.add(records)

    def _check_provenance(self, name: str) -> Iterator[str]:
        try:
            table = read_table(self._directory, name, self._place, read=self._read_before)
        except ModuleNotFoundError as error:
            self._tally.lose_segments()
            self._note(f"{name}: not compared with the records ({error})")
            return
        except ValueError as error:
            self._tally.lose_segments()
            yield f"{name}: no readable table ({error})"
            return
        self._tally.add_segments(table, self._place)
        problem = find_misplaced_row(table, self._place)
        if problem:
            yield f"{name}: {problem}"
            return
        self.numbered = table.number is not None and self._documents is not None
        self.table = table if self.numbered else None
        if table.number is not None and self._documents is not None:
            wrong = list(check_numbers(table, self._documents))
            yield from wrong
            if not wrong:
                variants, numbers = self._place.variant_of(table.example), table.number // RANGE
                self.ranges = [(each, i) for each in np.unique(variants).tolist() for i in np.unique(numbers[variants == each]).tolist()]
        yield from check_table(table, self._place, self._held)
        if self._held_labels.labels:
            yield from self._held_labels.check(name, table.example, table.places(self._place.align), table.length, table.fields)
        if self._wraps and len(table):
            yield from check_continuity(table, self._place)
            self.ends = ends_of(table, self._place)


def _parse_lists(payload: bytes, features: Mapping[str, schema.Feature]) -> tuple[str, dict[str, npt.NDArray[Any]]]:
    """Parses one record of the int64_list format: what is wrong with it, or its arrays in their shapes."""
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
