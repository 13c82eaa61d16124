"""Steps over whole streams: passes, parts, numbers, shuffles and batches.

Tested in tests/tokenreel/tasks/test_example_stream.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.tasks.stream_nodes import Column, Cursor, Keyed, Node, State, Step, StepCursor


class Repeated(Step):
    """Several passes, or without end.

    Args:
      parent: what is passed over.
      count: passes; None for no end.
      fresh: whether each pass is an epoch of its own, with its own order and draws; otherwise the first is repeated as it was.
    """

    def __init__(self, parent: Node, count: int | None, *, fresh: bool) -> None:
        super().__init__(parent, f"{'epochs' if fresh else 'repeat'}({count})")
        self.count, self.fresh = count, fresh

    def open(self, epoch: int) -> Cursor:
        return _RepeatedCursor(self, epoch)

    def length(self) -> int | None:
        below = self.parent.length()
        return None if below is None or self.count is None else below * self.count

    def is_endless(self) -> bool:
        return self.count is None or super().is_endless()


class _RepeatedCursor(Cursor):
    def __init__(self, step: Repeated, epoch: int) -> None:
        self._step, self._epoch, self._pass, self._empty = step, epoch, 0, True
        self._below = self._open()

    def _open(self) -> Cursor:
        # An endless step is opened but once, so that the passes of different epochs do not meet.
        return self._step.parent.open(self._epoch * (self._step.count or 1) + self._pass if self._step.fresh else self._epoch)

    def __next__(self) -> Keyed:
        while self._step.count is None or self._pass < self._step.count:
            for element in self._below:
                self._empty = False
                return element
            if self._empty:
                break  # no pass holds anything
            self._pass += 1
            self._empty = True
            self._below = self._open()
        raise StopIteration

    @property
    def reads_blocks(self) -> bool:
        return self._below.reads_blocks

    def read_block(self, count: int) -> tuple[list[Keyed], dict[str, Column]]:
        while True:
            keyed, block = self._below.read_block(count)
            if keyed or self._empty or self._pass + 1 == self._step.count:
                self._empty = self._empty and not keyed
                return keyed, block
            self._pass += 1
            self._empty = True
            self._below = self._open()

    def get_state(self) -> State:
        return {"pass": self._pass, "below": self._below.get_state(), "empty": self._empty}

    def set_state(self, state: State) -> None:
        self._pass, self._empty = int(state["pass"]), bool(state["empty"])
        self._below = self._open()
        self._below.set_state(state["below"])


class Cut(Step):
    """Every `step`-th element from `start` on, before `stop` (None: to the end): what take, skip and shard are."""

    def __init__(self, parent: Node, start: int, stop: int | None, step: int) -> None:
        super().__init__(parent, f"[{start}:{'' if stop is None else stop}:{step}]")
        self.start, self.stop, self.stride = start, stop, step

    def open(self, epoch: int) -> Cursor:
        return _CutCursor(self, epoch)

    def length(self) -> int | None:
        below = self.parent.length()
        if below is None and self.stop is not None and self.parent.is_endless():
            below = self.stop
        return None if below is None else len(range(below)[self.start : self.stop : self.stride])

    def is_endless(self) -> bool:
        return self.stop is None and super().is_endless()


class _CutCursor(Cursor):
    def __init__(self, step: Cut, epoch: int) -> None:
        self._step, self._below, self._at = step, step.parent.open(epoch), 0

    def __next__(self) -> Keyed:
        step = self._step
        while step.stop is None or self._at < step.stop:
            element = next(self._below)
            self._at += 1
            if self._at > step.start and (self._at - 1 - step.start) % step.stride == 0:
                return element
        raise StopIteration

    def get_state(self) -> State:
        return {"at": self._at, "below": self._below.get_state()}

    def set_state(self, state: State) -> None:
        self._at = int(state["at"])
        self._below.set_state(state["below"])


class Enumerated(Step):
    """Each element with its number in the pass: (number, element)."""

    def __init__(self, parent: Node, start: int) -> None:
        super().__init__(parent, f"enumerate({start})")
        self.start = start

    def open(self, epoch: int) -> Cursor:
        return _EnumeratedCursor(self, epoch)

    def length(self) -> int | None:
        return self.parent.length()


class _EnumeratedCursor(Cursor):
    def __init__(self, step: Enumerated, epoch: int) -> None:
        self._below, self._next = step.parent.open(epoch), step.start

    def __next__(self) -> Keyed:
        element = next(self._below)
        self._next += 1
        return Keyed(element.key, element.epoch, (np.int64(self._next - 1), element.value))

    def get_state(self) -> State:
        return {"next": self._next, "below": self._below.get_state()}

    def set_state(self, state: State) -> None:
        self._next = int(state["next"])
        self._below.set_state(state["below"])


class Shuffled(Step):
    """Elements in random order within windows of the stream: a state holds where the window began, and no elements.

    Args:
      parent: what is shuffled.
      size: elements of a window.
      seed: any integer.
    """

    def __init__(self, parent: Node, size: int, seed: int) -> None:
        super().__init__(parent, f"shuffle({size}, seed={seed})")
        if size < 1:
            raise ConfigError(f"the buffer of a shuffle holds at least 1 example, got {size}")
        self.size, self.seed = size, seed

    def open(self, epoch: int) -> Cursor:
        return _ShuffledCursor(self, epoch)

    def length(self) -> int | None:
        return self.parent.length()


class _ShuffledCursor(Cursor):
    def __init__(self, step: Shuffled, epoch: int) -> None:
        self._step, self._epoch, self._below = step, epoch, step.parent.open(epoch)
        self._window, self._inside = -1, 0
        self._before, self._elements = self._below.get_state(), list[Keyed]()

    def __next__(self) -> Keyed:
        if self._inside >= len(self._elements):
            self._window += 1
            self._before, self._inside = self._below.get_state(), 0
            self._fill()
        if not self._elements:
            raise StopIteration
        self._inside += 1
        return self._elements[self._inside - 1]

    def _fill(self) -> None:
        elements = list(itertools.islice(self._below, self._step.size))
        key = keys.key(self._step.seed, "tasks/shuffle", self._epoch, self._window)
        order = np.argsort(keys.bits(self._step.seed, "tasks/shuffle", [key], len(elements))[0], kind="stable")
        self._elements = [elements[place] for place in order.tolist()]

    def get_state(self) -> State:
        return {"window": self._window, "inside": self._inside, "below": self._before}

    def set_state(self, state: State) -> None:
        self._window, self._inside, self._before = int(state["window"]), int(state["inside"]), state["below"]
        self._below.set_state(state["below"])
        self._elements = []
        if self._window >= 0:
            self._fill()


class Remembered(Step):
    """Elements that are held in memory after the first whole pass; every epoch gives the same ones."""

    def __init__(self, parent: Node) -> None:
        super().__init__(parent, "cache")
        self._held: list[Keyed] | None = None

    def open(self, epoch: int) -> Cursor:
        if self._held is None:
            self._held = list(self.parent.open(0))
        return _RememberedCursor(self._held, epoch)

    def length(self) -> int | None:
        return self.parent.length() if self._held is None else len(self._held)


class _RememberedCursor(Cursor):
    def __init__(self, held: Sequence[Keyed], epoch: int) -> None:
        self._held, self._epoch, self._at = held, epoch, 0

    def __next__(self) -> Keyed:
        if self._at >= len(self._held):
            raise StopIteration
        self._at += 1
        element = self._held[self._at - 1]
        value = dict(element.value) if isinstance(element.value, dict) else element.value  # a step may change its dictionary
        return Keyed(element.key, self._epoch, value)

    def get_state(self) -> State:
        return {"at": self._at}

    def set_state(self, state: State) -> None:
        self._at = int(state["at"])


class Batched(Step):
    """Elements stacked: a new first axis for every feature."""

    def __init__(self, parent: Node, size: int, drop_remainder: bool) -> None:
        super().__init__(parent, f"batch({size}, {drop_remainder})")
        if size < 1:
            raise ConfigError(f"a batch holds at least 1 example, got {size}")
        self.size, self.drop_remainder = size, drop_remainder

    def open(self, epoch: int) -> Cursor:
        return _BatchedCursor(self, epoch)

    def length(self) -> int | None:
        below = self.parent.length()
        return None if below is None else below // self.size if self.drop_remainder else -(-below // self.size)


class _BatchedCursor(StepCursor):
    def __init__(self, step: Batched, epoch: int) -> None:
        super().__init__(step, epoch)
        self._step = step

    def __next__(self) -> Keyed:
        if self._below.reads_blocks:
            return self._of_rows()
        elements = list(itertools.islice(self._below, self._step.size))
        if not elements or (self._step.drop_remainder and len(elements) < self._step.size):
            raise StopIteration
        return Keyed(elements[0].key, elements[0].epoch, stack([element.value for element in elements]))

    def _of_rows(self) -> Keyed:
        """Makes a batch of rows that come many at once."""
        parts: list[dict[str, Column]] = []
        head, missing = None, self._step.size
        while missing:
            keyed, block = self._below.read_block(missing)
            if not keyed:
                break
            head, missing = head or keyed[0], missing - len(keyed)
            parts.append(block)
        if head is None or (self._step.drop_remainder and missing):
            raise StopIteration
        if any(bounds is not None for part in parts for _, bounds in part.values()):
            split = [_examples(part) for part in parts]
            return Keyed(head.key, head.epoch, stack(list(itertools.chain.from_iterable(split))))
        return Keyed(head.key, head.epoch, {name: np.concatenate([part[name][0] for part in parts]) for name in parts[0]})


def _examples(block: dict[str, Column]) -> list[dict[str, Any]]:
    """Cuts a block into its examples."""
    columns = {
        name: values if bounds is None else [values[start:stop] for start, stop in itertools.pairwise(bounds.tolist())]
        for name, (values, bounds) in block.items()
    }
    count = min(map(len, columns.values()))
    return [{name: values[row] for name, values in columns.items()} for row in range(count)]


def stack(values: Sequence[Any]) -> Any:
    """Stacks equal structures of values: dictionaries and tuples by their parts, everything else along a new first axis.

    Raises:
      ConfigError: a feature is missing from one, or has not the same shape in all.

    >>> stack([{"a": np.array([1, 2])}, {"a": np.array([3, 4])}])["a"].tolist()
    [[1, 2], [3, 4]]
    """
    first = values[0]
    if isinstance(first, dict):
        return {name: _stack_feature(name, values) for name in first}
    if isinstance(first, tuple):
        return tuple(stack(parts) for parts in zip(*values, strict=True))
    return _stack_arrays("elements", values)


def _stack_feature(name: str, examples: Sequence[Any]) -> Any:
    missing = next((example for example in examples if name not in example), None)
    if missing is not None:
        raise ConfigError(f"a batch needs every feature in all its examples: one has {sorted(missing)}, without {name!r}")
    return _stack_arrays(f"feature {name!r}", [example[name] for example in examples])


def _stack_arrays(what: str, values: Sequence[Any]) -> Any:
    if isinstance(values[0], (bytes, str)):
        return np.array(values, dtype=object)
    arrays = [np.asarray(value) for value in values]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise ConfigError(
            f"a batch needs equal shapes, {what} has {shapes[0]} and {shapes[-1]}: use a feature converter, which pads, or batches of 1"
        )
    return np.stack(arrays)
