"""What is noted of examples while they are staged, so that rows can be planned without reading them again.

Tested in tests/pipelines/test_build_tasks.py.
"""

from __future__ import annotations

from collections import Counter as Numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.caching.staging import Counter
from tokenreel.converting.prepared_task import PreparedTask
from tokenreel.tasks.feature_converters import blocks
from tokenreel.tasks.stream_nodes import Keyed

FILE, PLACE, COST, CAPACITY = "row/file", "row/place", "row/cost/", "capacity/"
RAW, VALUES, SMALLEST, LARGEST = "raw/", "values/", "smallest", "largest"


class RowCounts(Counter):
    """Notes where each example of a file stands, and how many positions of a packed row it takes.

    Its columns are `FILE` and `PLACE`, the file's number and the example's number there, and for each feature that is packed `COST` and its
    name. What it counts are examples, values by feature, the raw examples of each file, and the bounds of all whole numbers.

    Args:
      prepared: the task.
    """

    def __init__(self, prepared: PreparedTask) -> None:
        super().__init__({})
        self._prepared, self._converter = prepared, prepared.converter
        self._raw = Numbers[int]()
        self._places: list[tuple[int, int]] = []
        self._costs: dict[str, list[npt.NDArray[np.int64]]] = {}
        self._capacities: dict[str, int] = {}
        self._values = Numbers[str]()
        self._bounds: list[int] = []

    def look(self, element: Keyed) -> Any:
        """Counts a raw example of a file."""
        self._raw[element.key[1]] += 1
        return element.value

    def add(self, elements: Sequence[Keyed]) -> None:
        """Notes examples, or rows, after a check that the converter takes them.

        Raises:
          ConfigError: it does not.
        """
        self._counts["examples"] += len(elements)
        if self._prepared.by_files:
            self._places += [(element.key[1], element.key[2]) for element in elements]
        examples = [element.value for element in elements]
        if self._prepared.stages_rows:
            for example in examples:
                self._note({name: np.asarray(value) for name, value in example.items()})
            return
        lengths = self._prepared.lengths
        block = blocks.from_examples(examples, self._converter.task_specs())
        self._converter.check(block, lengths)
        self._note({name: values for name, (values, _) in block.items() if isinstance(values, np.ndarray)})
        if self._converter.pack:
            costs, self._capacities = self._converter.costs(block, lengths)
            for name, cost in costs.items():
                self._costs.setdefault(name, []).append(cost)

    def _note(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Counts values, and finds the bounds of whole numbers."""
        for name, array in arrays.items():
            if array.dtype.kind in "iu" and array.size:
                self._values[name] += array.size
                self._bounds = [min([*self._bounds[:1], int(array.min())]), max([*self._bounds[1:], int(array.max())])]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Gives what is noted of each example."""
        columns: dict[str, npt.NDArray[Any]] = {COST + name: np.concatenate(parts) for name, parts in self._costs.items()}
        if self._prepared.by_files:
            file, place = np.array(self._places, np.int64).reshape(-1, 2).T
            columns |= {FILE: np.ascontiguousarray(file), PLACE: np.ascontiguousarray(place)}
        return columns

    def found(self) -> dict[str, int]:
        """Gives what was counted."""
        named: dict[str, Mapping[Any, int]] = {RAW: self._raw, VALUES: self._values, CAPACITY: self._capacities}
        told = {f"{prefix}{name}": value for prefix, counts in named.items() for name, value in sorted(counts.items())}
        bounds = dict(zip((SMALLEST, LARGEST), self._bounds, strict=False))
        return {**super().found(), **told, **bounds}
