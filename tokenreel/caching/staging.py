"""Units to stage files: the records of a unit, with their index, the keys by which they are laid in order, and what was counted.

A stage file is named by what it was made of, and one that an earlier attempt finished is compared with its digests and kept.

Tested in tests/pipelines/test_cache_tasks.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.caching.units import Unit, examples
from tokenreel.errors import BuildError, TokenreelError
from tokenreel.format import ragged_records
from tokenreel.format.cache_manifest import feature_from_json, feature_to_json
from tokenreel.format.ragged_records import RaggedFeature, RaggedWriter
from tokenreel.format.tfrecord import crc32c
from tokenreel.storage import files, sealed
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import Columns, map_bytes, of_bytes, to_parts
from tokenreel.tasks import example_keys, step_turns
from tokenreel.tasks.stream_nodes import Cursor, Keyed

VERSION = "cache-1"  # of the records and their order
_TOGETHER_BYTES = 4 << 20  # that are written at a time, about
_FIRST, _MOST = 16, 4096  # examples at a time: at first, and at most
_RECORDS, _INDEX, _SEAL = ".records", ".index", ".json"


@dataclasses.dataclass(frozen=True)
class Staged:
    """A stage file.

    Attributes:
      name: of its files, without their ends.
      task, split, number: of its unit.
      records, bytes: of all its examples.
      features: of them.
      statistics: what SeqIO counts of them.
      checksums: (bytes, CRC32C) of the records and of the index.
    """

    name: str
    task: int
    split: int
    number: int
    records: int
    bytes: int
    features: Mapping[str, RaggedFeature]
    statistics: Mapping[str, int]
    checksums: tuple[tuple[int, int], tuple[int, int]]

    def to_row(self) -> dict[str, Any]:
        """Gives it as a row of a table."""
        told = {"features": {name: feature_to_json(each) for name, each in self.features.items()}, "statistics": self.statistics}
        own = {name: getattr(self, name) for name in ("name", "task", "split", "number", "records", "bytes")}
        return {**own, "told": json.dumps(told, sort_keys=True), "checksums": tuple(value for pair in self.checksums for value in pair)}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Staged:
        """Reads a row that `to_row` gave."""
        told, sums = json.loads(row["told"]), tuple(row["checksums"])
        features = {name: feature_from_json(each) for name, each in told["features"].items()}
        own = {name: row[name] for name in ("name", "task", "split", "number", "records", "bytes")}
        return cls(**own, features=features, statistics=told["statistics"], checksums=(sums[:2], sums[2:]))


SORT_BY = ("task", "split", "number")


def stage(task: Any, unit: Unit, first: int, seed: int | None, wire: str, made_by: str, folder: Folder, counter: Counter) -> Staged:
    """Writes what a task's steps make of a unit, or finds it written.

    Args:
      task: the task.
      unit: what is read.
      first: number of its first example in its file.
      seed: of random steps.
      wire: of the records.
      made_by: digest of the steps and of all else that decides the examples, but for the unit.
      folder: where stage files lie.
      counter: counts the examples, and may add columns to the index.

    Raises:
      BuildError: a step fails, or gives what records do not hold; tells of which task and where.
    """
    # Two splits may read one file, whose examples are other ones in each: their keys are.
    name = keys.digest(VERSION, made_by, wire, task.splits[unit.split], unit.fingerprint, first)
    if (known := _find(folder.path, name, unit)) is not None:
        return known
    order: list[int] = []
    salt = 0 if unit.ranges else keys.key("caching/part", *unit.shard)
    path = files.join(folder.ready(), name)
    try:
        with files.write_atomic(path + _RECORDS) as file:
            writer = RaggedWriter(file, wire)
            for waiting in _together(examples(task, unit, first, seed), writer):
                order += [(example_keys.number(element.key) ^ salt) & (2**64 - 1) for element in waiting]
                counter.add(waiting)
                writer.write([element.value for element in waiting])
    except TokenreelError as error:
        raise BuildError(f"task {task.name!r}, split {task.splits[unit.split]!r}, {unit.where}: {error}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        raise BuildError(
            f"task {task.name!r}, split {task.splits[unit.split]!r}, {unit.where}: a step of the task failed with {what[:600]}. Correct "
            "the step, and run the same command again; --debug shows where it failed."
        ) from error
    index = with_order(writer.index(), keys.mix(np.array(order, dtype=np.uint64)))
    index = Columns(index.rows, {**index.arrays, **counter.columns()})
    data = b"".join(to_parts(index))
    folder.ready()
    files.write_bytes(path + _INDEX, data)
    sums = ((writer.bytes, writer.crc32c), (len(data), crc32c(data)))
    features = ragged_records.merge_features([writer.features])
    made = Staged(name, unit.task, unit.split, unit.number, writer.records, writer.bytes, features, counter.found(), sums)
    row = made.to_row()
    sealed.write(path + _SEAL, {**row, "checksums": list(row["checksums"])})
    return made


def _together(elements: Cursor, writer: RaggedWriter) -> Iterator[list[Keyed]]:
    """Yields examples, as many at a time as take about `_TOGETHER_BYTES` of what is written of them before the next are read."""
    count, before = _FIRST, writer.bytes
    while True:
        with step_turns.one_at_a_time():
            waiting = elements.read_many(count)
        if not waiting:
            return
        yield waiting
        wanted = _TOGETHER_BYTES * len(waiting) // max(writer.bytes - before, 1)
        count, before = max(1, min(2 * count, wanted, _MOST)), writer.bytes


def with_order(index: Columns, order: npt.NDArray[np.uint64]) -> Columns:
    """Adds the order of the records to an index: their keys sorted, and the records' numbers in that order."""
    rows = np.argsort(order, kind="stable")
    return Columns(index.rows, {**index.arrays, "order": order[rows], "row": rows.astype(np.int64)})


def _find(directory: str, name: str, unit: Unit) -> Staged | None:
    """Finds a stage file that is whole."""
    path = files.join(directory, name)
    row = sealed.read(path + _SEAL)
    if row is None:
        return None
    found = Staged.of_row({**row, "task": unit.task, "split": unit.split, "number": unit.number})
    ends = (_RECORDS, _INDEX)
    return found if all(files.checksum(path + end) == sums for end, sums in zip(ends, found.checksums, strict=True)) else None


def open_stage(directory: str, staged: Staged) -> tuple[npt.NDArray[np.uint8], Columns]:
    """Maps a stage file: its records, and its index with their order.

    Raises:
      BuildError: it is gone.
    """
    data = _map(directory, staged, _RECORDS) if staged.bytes else np.zeros(0, np.uint8)
    return data, open_index(directory, staged)


def open_index(directory: str, staged: Staged) -> Columns:
    """Maps the index of a stage file alone.

    Raises:
      BuildError: it is gone.
    """
    return of_bytes(_map(directory, staged, _INDEX))


def _map(directory: str, staged: Staged, ending: str) -> npt.NDArray[np.uint8]:
    path = files.join(directory, staged.name)
    try:
        return map_bytes(path + ending)
    except FileNotFoundError as error:
        raise BuildError(f"{path}: a stage file vanished. Run the same command again, and let nothing else write there.") from error


class Counter:
    """Counts as SeqIO does: examples, and tokens of output features that are neither padding nor EOS.

    Args:
      features: the output features.
      characters: whether characters are counted, too: of texts, and of ids as their vocabulary decodes them.
    """

    def __init__(self, features: Mapping[str, Any], *, characters: bool = False) -> None:
        self._decoded = {name: feature.vocabulary for name, feature in features.items()} if characters else {}
        self._ignored = {name: _ids_to_ignore(feature.vocabulary) for name, feature in features.items()}
        self._counts: dict[str, int] = {"examples": 0}

    def add(self, elements: Sequence[Keyed]) -> None:
        """Counts examples."""
        counts = self._counts
        counts["examples"] += len(elements)
        for name, ignored in self._ignored.items():
            for values in (element.value.get(name) for element in elements):
                if not isinstance(values, np.ndarray) or values.dtype not in (np.int32, np.int64):
                    continue
                tokens = values.size - sum(int(np.count_nonzero(values == each)) for each in ignored)
                counts[f"{name}_tokens"] = counts.get(f"{name}_tokens", 0) + tokens
                counts[f"{name}_max_tokens"] = max(counts.get(f"{name}_max_tokens", 0), tokens)

        for name, vocabulary in self._decoded.items():
            found = (_characters(element.value.get(name), vocabulary) for element in elements)
            lengths = [length for length in found if length is not None]
            if lengths:
                counts[f"{name}_chars"] = counts.get(f"{name}_chars", 0) + sum(lengths)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Gives columns of [examples] that are added to the index; here there is none."""
        return {}

    def found(self) -> dict[str, int]:
        """Gives what was counted."""
        return dict(sorted(self._counts.items()))


def _characters(value: Any, vocabulary: Any) -> int | None:
    """Counts the characters of a text, or of the text of ids; None of anything else."""
    if isinstance(value, bytes):
        return len(value.decode("utf-8", "replace"))
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype not in (np.int32, np.int64):
        return None
    text = vocabulary.decode(value.tolist())
    return len(text) if isinstance(text, str) else None  # of numbers that stand for no text


def _ids_to_ignore(vocabulary: Any) -> set[int]:
    found = set()
    for name in ("pad_id", "eos_id"):
        try:
            found.add(getattr(vocabulary, name, None))
        except NotImplementedError:
            continue
    return {each for each in found if isinstance(each, int)}


def add_statistics(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Adds what was counted in several parts; of `_max_tokens` the largest.

    >>> add_statistics([{"examples": 2, "a_tokens": 5, "a_max_tokens": 3}, {"examples": 1, "a_tokens": 4, "a_max_tokens": 4}])
    {'examples': 3, 'a_tokens': 9, 'a_max_tokens': 4}
    """
    total: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = max(total.get(name, 0), value) if name.endswith("_max_tokens") else total.get(name, 0) + value
    return total
