"""From what was staged to rows: the order of the examples, which of them share a row, and which rows a shard has.

A plan is made anew in each process, of the indexes of all stage files of a split: about 30 bytes for each example.

Tested in tests/pipelines/test_build_tasks.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.caching.staging import Staged, open_index, open_stage
from tokenreel.converting.prepared_task import PreparedTask
from tokenreel.converting.row_counts import CAPACITY, COST, FILE, LARGEST, PLACE, RAW, SMALLEST, VALUES
from tokenreel.converting.row_job import RowJob
from tokenreel.errors import BuildError
from tokenreel.format import ragged_records, schema
from tokenreel.format.ragged_shards import RaggedRecords
from tokenreel.format.schema import Feature
from tokenreel.ragged import Ints
from tokenreel.tasks import interleaving
from tokenreel.tasks.data_sources import FileDataSource
from tokenreel.tasks.feature_converters.converted_stream import plan_stream


@dataclasses.dataclass(frozen=True, eq=False)
class SplitRows:
    """The rows of a split.

    Attributes:
      records: the staged examples, or rows.
      order: int64 [examples] their numbers in the order of the stream; None where they are staged in it.
      begins, ends: int64 [rows] the first example of each packed row in that order, and the one behind its last; None where each has one.
      values: the values of each feature, over all examples.
    """

    records: RaggedRecords
    order: Ints | None
    begins: Ints | None
    ends: Ints | None
    values: dict[str, int]

    @property
    def rows(self) -> int:
        """Their number."""
        return len(self.records) if self.begins is None else len(self.begins)

    def examples(self, first: int, last: int) -> tuple[Ints, Ints | None]:
        """Gives the examples of some rows, by their numbers among the staged ones, and which of them is the first of each packed row."""
        if self.begins is None or self.ends is None:
            wanted, heads = np.arange(first, last), None
        else:
            begins, counts = self.begins[first:last], self.ends[first:last] - self.begins[first:last]
            wanted = np.repeat(begins, counts) + ragged.ranks(counts)
            heads = ragged.offsets_of(counts)[:-1]
        return (wanted if self.order is None else self.order[wanted]), heads


def plan_rows(job: RowJob, staged: Sequence[Staged]) -> SplitRows:
    """Plans the rows of a split.

    Args:
      job: what is built.
      staged: all stage files of the split, in the order of their units.

    Raises:
      BuildError: a stage file is gone, or two contradict each other.
    """
    prepared: PreparedTask = job.load()
    filled = [each for each in staged if each.records]
    features = ragged_records.merge_features([each.features for each in filled])
    directory = job.work.stages.path
    records = RaggedRecords(features, [(each.records, functools.partial(open_stage, directory, each)) for each in filled])
    values = _summed(staged, VALUES)
    indexes = [open_index(directory, each) for each in filled]  # the records are read by who makes rows of them

    def column(name: str) -> npt.NDArray[np.int64]:
        return np.concatenate([np.zeros(0, np.int64), *(index.numbers(name) for index in indexes)])

    order: Ints | None = None
    if prepared.by_files:
        assert isinstance(prepared.source, FileDataSource)
        raw = {int(file): count for file, count in _summed(staged, RAW).items()}
        counts = [raw.get(file, 0) for file in range(max(raw, default=0) + 1)]
        read = interleaving.places(counts, *prepared.source.turns, column(FILE), column(PLACE))
        order = np.argsort(read, kind="stable")
        order = None if np.array_equal(order, np.arange(len(order))) else order
    if prepared.stages_rows or not prepared.converter.pack:
        return SplitRows(records, order, None, None, values)
    capacities = {
        name.removeprefix(CAPACITY): size for each in filled for name, size in each.statistics.items() if name.startswith(CAPACITY)
    }
    costs = {name: column(COST + name) for name in capacities}
    costs = costs if order is None else {name: cost[order] for name, cost in costs.items()}
    return SplitRows(records, order, *plan_stream(prepared.converter, costs, capacities), values)


def _summed(staged: Sequence[Staged], prefix: str) -> dict[str, int]:
    """Adds what was counted under names with a prefix."""
    total: dict[str, int] = {}
    for each in staged:
        for name, value in each.statistics.items():
            if name.startswith(prefix):
                total[name.removeprefix(prefix)] = total.get(name.removeprefix(prefix), 0) + value
    return total


def features_of(job: RowJob, staged: Sequence[Staged]) -> tuple[Feature, ...]:
    """Gives the features of a record: whole numbers in 16 bits where all that the rows can hold fits.

    What a converter of this project writes are numbers of the task, positions, numbers of segments and weights, its own arguments too.
    """
    prepared: PreparedTask = job.load()
    bounds = [each.statistics for each in staged if SMALLEST in each.statistics]
    largest = max([each[LARGEST] for each in bounds] + [max(shape, default=0) for _, shape in job.shapes.values()], default=0)
    smallest = min((each[SMALLEST] for each in bounds), default=0)
    own = type(prepared.converter).__module__.startswith("tokenreel.") or prepared.stages_rows
    given = [value for value in vars(prepared.converter).values() if isinstance(value, int)]
    narrow = own and min([smallest, *given]) >= 0 and max([largest, *given]) < 1 << 16
    features = [
        Feature(name=name, dtype="uint16" if dtype == "int32" and narrow else dtype, shape=tuple(shape))
        for name, (dtype, shape) in job.shapes.items()
    ]
    features.append(Feature(name=schema.EXAMPLE_ID, dtype="int64"))
    return tuple(sorted(features, key=lambda feature: feature.name))


def check_rows(job: RowJob, split: str, rows: SplitRows) -> None:
    """Checks that a split has rows.

    Raises:
      BuildError: it has none.
    """
    if not rows.rows:
        raise BuildError(f"{job.name!r}, split {split!r}: gives no row. Correct the source or the steps, or leave the split out of splits.")
