"""A converter as a step of a stream of examples: blocks are read, converted, and handed out row by row.

A row of a packed stream depends on the examples from its first on and on nothing before. So a state is the number of the example that the
next row begins with, and the place in the stream below from which to count: restoring it reads at most the examples of one block again.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from tokenreel.ragged import Ints
from tokenreel.tasks.feature_converters import blocks
from tokenreel.tasks.feature_converters.blocks import Column
from tokenreel.tasks.feature_converters.row_making import RowMaker
from tokenreel.tasks.feature_converters.rows import Rows
from tokenreel.tasks.feature_converters.specs import Lengths
from tokenreel.tasks.stream_nodes import Cursor, Keyed, Node, State, Step

_BLOCK_EXAMPLES = 512
"""Read at once: enough that NumPy's cost of a call is small beside that of the tokens."""


def plan_stream(converter: RowMaker, costs: Mapping[str, Ints], capacities: Mapping[str, int]) -> tuple[Ints, Ints]:
    """Divides all examples of a stream among packed rows as `Converted` does, by what each brings.

    Args:
      converter: makes the rows.
      costs: int64 [n] values of each feature.
      capacities: positions of each feature in a row.

    Returns:
      int64 [rows] the first example of each row, and the one behind its last. Empty examples may belong to no row.
    """
    total = len(next(iter(costs.values()))) if costs else 0
    begins, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    first, read = 0, 0
    while first < total:
        ended = read == total
        read = min(read + _BLOCK_EXAMPLES, total)
        found, count = converter.plan({name: cost[first:read] for name, cost in costs.items()}, capacities, first, ended=ended)
        heads, done = first + found, first + count
        begins.append(heads)
        ends.append(np.append(heads[1:], done)[: len(heads)])
        first = done
    return np.concatenate(begins), np.concatenate(ends)


class Converted(Step):
    """The rows that a converter makes of examples, in their order.

    Args:
      parent: gives the examples.
      converter: makes the rows.
      lengths: of the task's features.
    """

    def __init__(self, parent: Node, converter: RowMaker, lengths: Lengths) -> None:
        settings = {"pack": converter.pack, "compat": converter.compat, "lengths": sorted(lengths.items())}
        super().__init__(parent, f"{type(converter).__name__}({settings})")
        self.converter, self.lengths = converter, lengths

    def open(self, epoch: int) -> Cursor:
        """Begins a pass."""
        return _ConvertedCursor(self, epoch)

    def length(self) -> int | None:
        """Counts the rows, where each is one example."""
        return None if self.converter.pack else self.parent.length()


class _ConvertedCursor(Cursor):
    """Rows that are made, and examples of the row that is still open."""

    def __init__(self, step: Converted, epoch: int) -> None:
        self._converter, self._lengths, self._below = step.converter, step.lengths, step.parent.open(epoch)
        self._begin(0)

    def _begin(self, number: int) -> None:
        """Forgets everything: the next example below is number `number` of the stream."""
        self._marks = [(number, self._below.get_state())]  # numbers of examples, and how to come to them
        self._first = number  # of the examples that `_open` holds
        self._open: dict[str, Column] | None = None
        self._open_keys: list[Keyed] = []
        self._rows: Rows = {}
        self._row, self._heads, self._keys = 0, [number], list[Keyed]()

    def __next__(self) -> Keyed:
        while self._row == len(self._keys):
            if not self._fill():
                raise StopIteration
        row = self._row
        self._row += 1
        key, epoch, _ = self._keys[row]
        return Keyed(key, epoch, {name: array[row] for name, array in self._rows.items()})

    def _fill(self) -> bool:
        """Makes the rows of the next examples; tells whether there were any examples, or an open row."""
        number = self._first + len(self._open_keys)
        self._marks = [mark for mark in self._marks if mark[0] >= max(at for at, _ in self._marks if at <= self._first)]
        if number > self._marks[-1][0]:
            self._marks.append((number, self._below.get_state()))
        elements, block = self._read()
        if not elements and not self._open_keys:
            return False
        parts = [self._open] if self._open is not None else []
        if elements:
            self._converter.check(block, self._lengths)
            parts.append(block)
        keys = [*self._open_keys, *(Keyed(element.key, element.epoch, None) for element in elements)]
        self._make(blocks.join(parts), keys, ended=not elements)
        return True

    def _read(self) -> tuple[list[Keyed], dict[str, Column]]:
        """Reads the next examples, as a block where the step below can."""
        specs = self._converter.task_specs()
        if self._below.reads_blocks:
            elements, block = self._below.read_block(_BLOCK_EXAMPLES)
            return elements, {name: block[name] for name in specs if name in block}
        elements = list(itertools.islice(self._below, _BLOCK_EXAMPLES))
        return elements, blocks.from_examples([element.value for element in elements], specs) if elements else {}

    @property
    def reads_blocks(self) -> bool:
        """Always: rows are made many at once."""
        return True

    def read_block(self, count: int) -> tuple[list[Keyed], dict[str, Column]]:
        """Reads at most `count` rows, whose features are all of one shape."""
        while self._row == len(self._keys):
            if not self._fill():
                return [], {}
        first, self._row = self._row, min(self._row + count, len(self._keys))
        return self._keys[first : self._row], {name: (array[first : self._row], None) for name, array in self._rows.items()}

    def _make(self, block: dict[str, Column], keys: list[Keyed], *, ended: bool) -> None:
        """Makes the rows that are complete, and keeps the examples of the last one, which goes on in the next block."""
        converter, count = self._converter, len(keys)
        if converter.makes_whole_blocks:
            self._rows = converter.convert_rows(block, self._lengths)
            made = len(next(iter(self._rows.values())))
            heads = np.arange(made) if made == count else np.minimum(np.arange(made), count - 1)
            done = count
        else:
            prepared, lengths = converter.prepare(block, self._lengths)
            if converter.pack:
                self._rows, heads, done = converter.pack_rows(prepared, lengths, self._first, ended=ended)
            else:
                self._rows, heads, done = converter.finish(converter.pad(prepared, lengths)), np.arange(count), count
        first = self._first
        self._heads = [*(first + heads).tolist(), first + done]
        self._keys, self._row = [keys[head] for head in heads.tolist()], 0
        self._first, self._open_keys = first + done, keys[done:]
        self._open = blocks.part(block, done, count) if done < count else None

    def get_state(self) -> State:
        number = self._heads[self._row]
        at, below = max((mark for mark in self._marks if mark[0] <= number), key=lambda mark: mark[0])
        return {"below": below, "skip": number - at, "example": number}

    def set_state(self, state: State) -> None:
        self._below.set_state(state["below"])
        skip = int(state["skip"])
        next(itertools.islice(self._below, skip, skip), None)
        self._begin(int(state["example"]))
