"""What a stream of examples is made of: nodes that can be walked again and again, and cursors that know where they stand.

A node is one step. `open(epoch)` begins a pass and gives a cursor; two passes with one epoch are equal. A cursor's state is plain JSON: the
step's own and that of the cursors below. What a state costs to restore is what the lowest node needs: a sequence seeks, a generator is read
again up to the place.

Tested in tests/tokenreel/tasks/test_example_stream.py.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tokenreel.tasks.example_keys import Key, source_key

State = Any
"""What JSON can hold."""

Column = tuple[Any, Any]
"""A feature of n examples: values end to end and their int64 [n + 1] bounds; or [n, ...] values and None."""


class Keyed(NamedTuple):
    """An element on its way through the steps.

    Attributes:
      key: names the example, see `example_keys`.
      epoch: of the pass over the data that it was read in, from 0.
      value: the example, a dictionary; or what a step makes of it.
    """

    key: Key
    epoch: int
    value: Any


class Cursor(Iterator[Keyed]):
    """One pass over a node, and the place in it."""

    @abc.abstractmethod
    def get_state(self) -> State:
        """Gives the place, in JSON's types."""

    @abc.abstractmethod
    def set_state(self, state: State) -> None:
        """Goes to a place of an equal pass."""

    def read_many(self, count: int) -> list[Keyed]:
        """Reads at most `count` elements, from the same place as `next`; none at the end alone. Steps that take many get them so."""
        return list(itertools.islice(self, count))

    @property
    def reads_blocks(self) -> bool:
        """Whether `read_block` may be called."""
        return False

    def read_block(self, count: int) -> tuple[list[Keyed], dict[str, Column]]:
        """Reads at most `count` elements at once, from the same place as `next`.

        Returns:
          the elements without their values, none at the end, and their features: each one's values end to end and int64 [n + 1] bounds, or
          [n, ...] values and None.
        """
        raise NotImplementedError


class Node(abc.ABC):
    """One step of a stream.

    Attributes:
      name: for states and messages.
    """

    name: str

    @abc.abstractmethod
    def open(self, epoch: int) -> Cursor:
        """Begins a pass."""

    def describe(self) -> list[str]:
        """Names the steps up to this one, first to last, with what decides their order of examples."""
        return [self.name]

    def length(self) -> int | None:
        """Counts the elements of a pass where that is known without making them; None otherwise."""
        return None

    def is_endless(self) -> bool:
        """Says whether a pass never ends."""
        return False


Make = Callable[[int], Iterator[tuple[Key, Any] | Keyed]]


class Generated(Node):
    """Elements of a function that makes an iterator of them, read again from the start where a state is restored.

    Args:
      make: from an epoch to (key, value) pairs, or to elements with an epoch of their own. An iterator that has `get_state` and `set_state`
        itself is asked instead of read again.
      name: of the source.
      describes: what else decides the order.
    """

    def __init__(self, make: Make, name: str, describes: str = "") -> None:
        self._make, self.name, self._describes = make, name, describes

    def open(self, epoch: int) -> Cursor:
        return _GeneratedCursor(self._make, epoch)

    def describe(self) -> list[str]:
        return [self.name + self._describes]


class _GeneratedCursor(Cursor):
    def __init__(self, make: Make, epoch: int) -> None:
        self._make, self._epoch, self._taken = make, epoch, 0
        self._iterator: Iterator[tuple[Key, Any] | Keyed] | None = None

    def __next__(self) -> Keyed:
        if self._iterator is None:
            self._iterator = iter(self._make(self._epoch))
        element = next(self._iterator)
        self._taken += 1
        return element if isinstance(element, Keyed) else Keyed(element[0], self._epoch, element[1])

    def get_state(self) -> State:
        own = getattr(self._iterator, "get_state", None)
        return {"taken": self._taken} if own is None else {"taken": self._taken, "own": own()}

    def set_state(self, state: State) -> None:
        self._taken = int(state["taken"])
        self._iterator = iter(self._make(self._epoch))
        if "own" in state:
            self._iterator.set_state(state["own"])  # type: ignore[attr-defined]
        else:
            next(itertools.islice(self._iterator, self._taken, self._taken), None)


class NumberedIterator(Iterator[tuple[Key, Any] | Keyed]):
    """The elements of an iterator with their numbers as keys; the iterator's own state is kept where it tells one.

    Args:
      elements: from the first.
      source: the number that the keys begin with.
    """

    def __init__(self, elements: Iterator[Any], source: int) -> None:
        self._elements, self._source, self._number = elements, source, 0
        if hasattr(elements, "get_state") and hasattr(elements, "set_state"):
            self.get_state, self.set_state = self._get_state, self._set_state

    def __next__(self) -> tuple[Key, Any]:
        element = next(self._elements)
        self._number += 1
        return (self._source, self._number - 1), element

    def _get_state(self) -> State:
        return {"number": self._number, "own": self._elements.get_state()}  # type: ignore[attr-defined]

    def _set_state(self, state: State) -> None:
        self._number = int(state["number"])
        self._elements.set_state(state["own"])  # type: ignore[attr-defined]


class Indexed(Node):
    """Elements of a sequence, in its order or in one of each epoch's own; a state is restored at once.

    Args:
      items: has a length, and gives an element for a number.
      source: the number that their keys begin with.
      name: of the source.
      order: from (length, epoch) to what maps places to numbers of items; None keeps the order.
      places: those of a shard; None for all.
    """

    def __init__(
        self,
        items: Sequence[Any],
        source: int,
        name: str,
        order: Callable[[int, int], Callable[[Any], Any]] | None = None,
        places: range | None = None,
        describes: str = "",
    ) -> None:
        self.items, self.source, self.name, self.order, self._describes = items, source, name, order, describes
        self.places = range(len(items)) if places is None else places

    def open(self, epoch: int) -> Cursor:
        return _IndexedCursor(self, epoch)

    def describe(self) -> list[str]:
        return [f"{self.name}[{self.places.start}:{self.places.stop}:{self.places.step}]{self._describes}"]

    def length(self) -> int:
        return len(self.places)

    def slice(self, places: slice) -> Indexed:
        """Gives the node of some of its places."""
        return Indexed(self.items, self.source, self.name, self.order, self.places[places], self._describes)

    def numbers(self, epoch: int, start: int, stop: int) -> Any:
        """Gives the numbers of the items that stand at some places of a pass: int64 [stop - start]."""
        chosen = self.places[start:stop]
        places = np.arange(chosen.start, chosen.stop, chosen.step, dtype=np.int64)
        return places if self.order is None else self.order(len(self.items), epoch)(places)


class _IndexedCursor(Cursor):
    _AHEAD = 1024  # numbers that are worked out at a time
    _MANY = 128  # examples that are read at a time, where that is cheaper than one by one

    def __init__(self, node: Indexed, epoch: int) -> None:
        self._node, self._epoch, self._at = node, epoch, 0
        self._first, self._numbers = 0, np.zeros(0, dtype=np.int64)
        self._many = getattr(node.items, "examples", None)  # of those that give many at once
        self._examples: list[Any] = []

    def __next__(self) -> Keyed:
        if self._at >= len(self._node.places):
            raise StopIteration
        if not self._first <= self._at < self._first + len(self._numbers):
            self._first = self._at
            self._numbers = self._node.numbers(self._epoch, self._at, self._at + (self._AHEAD if self._many is None else self._MANY))
            self._examples = [] if self._many is None else self._many(self._numbers)
        place = self._at - self._first
        number = int(self._numbers[place])
        self._at += 1
        example = self._node.items[number] if self._many is None else self._examples[place]
        return Keyed((self._node.source, number), self._epoch, example)

    @property
    def reads_blocks(self) -> bool:
        return hasattr(self._node.items, "take")

    def read_block(self, count: int) -> tuple[list[Keyed], dict[str, Column]]:
        stop = min(self._at + count, len(self._node.places))
        numbers = self._node.numbers(self._epoch, self._at, stop)
        self._at = stop
        source, epoch = self._node.source, self._epoch
        return [Keyed((source, number), epoch, None) for number in numbers.tolist()], self._node.items.take(numbers)  # type: ignore[attr-defined]

    def get_state(self) -> State:
        return {"at": self._at}

    def set_state(self, state: State) -> None:
        self._at = int(state["at"])


class Step(Node):
    """A node over another; a step's own arguments are part of its name where they decide the order of examples."""

    def __init__(self, parent: Node, name: str) -> None:
        self.parent, self.name = parent, name

    def describe(self) -> list[str]:
        return [*self.parent.describe(), self.name]

    def is_endless(self) -> bool:
        return self.parent.is_endless()


class Mapped(Step):
    """One element for one. The function gets the element, or with `keyed` the whole `Keyed`.

    A function with a method `of_block`, from a block of examples to one of as many, is asked for many at once. So is one with a method
    `of_many`, which takes and gives lists; what it gives for an element must be what the function gives, whatever else is in the list.
    """

    def __init__(self, parent: Node, function: Callable[[Any], Any], name: str, *, keyed: bool = False) -> None:
        super().__init__(parent, name)
        self.function, self.keyed = function, keyed

    def open(self, epoch: int) -> Cursor:
        return _MappedCursor(self, epoch)

    def length(self) -> int | None:
        return self.parent.length()


class StepCursor(Cursor):
    """A cursor whose place is that of the cursor below."""

    def __init__(self, step: Step, epoch: int) -> None:
        self._below = step.parent.open(epoch)

    def get_state(self) -> State:
        return self._below.get_state()

    def set_state(self, state: State) -> None:
        self._below.set_state(state)


class _MappedCursor(StepCursor):
    def __init__(self, step: Mapped, epoch: int) -> None:
        super().__init__(step, epoch)
        self._function, self._keyed = step.function, step.keyed
        self._of_block = getattr(step.function, "of_block", None)
        self._of_many = getattr(step.function, "of_many", None)

    @property
    def reads_blocks(self) -> bool:
        return self._of_block is not None and self._below.reads_blocks

    def read_block(self, count: int) -> tuple[list[Keyed], dict[str, Column]]:
        keyed, block = self._below.read_block(count)
        return keyed, self._of_block(block) if keyed and self._of_block is not None else block

    def read_many(self, count: int) -> list[Keyed]:
        elements = self._below.read_many(count)
        taken: list[Any] = [*elements] if self._keyed else [element.value for element in elements]
        values = map(self._function, taken) if self._of_many is None else self._of_many(taken)
        return [Keyed(key, epoch, value) for (key, epoch, _), value in zip(elements, values, strict=True)]

    def __next__(self) -> Keyed:
        element = next(self._below)
        return Keyed(element.key, element.epoch, self._function(element if self._keyed else element.value))


class Filtered(Step):
    """The elements for which a function is true."""

    def __init__(self, parent: Node, function: Callable[[Any], Any], name: str) -> None:
        super().__init__(parent, name)
        self.function = function

    def open(self, epoch: int) -> Cursor:
        return _FilteredCursor(self, epoch)


class _FilteredCursor(StepCursor):
    def __init__(self, step: Filtered, epoch: int) -> None:
        super().__init__(step, epoch)
        self._function = step.function

    def read_many(self, count: int) -> list[Keyed]:
        while elements := self._below.read_many(count):
            if kept := [element for element in elements if self._function(element.value)]:
                return kept
        return []

    def __next__(self) -> Keyed:
        for element in self._below:
            if self._function(element.value):
                return element
        raise StopIteration


class FlatMapped(Step):
    """Several elements for one, each with its number in the key. The function gets the element, or with `keyed` the whole `Keyed`."""

    def __init__(self, parent: Node, function: Callable[[Any], Iterable[Any]], name: str, *, keyed: bool = False) -> None:
        super().__init__(parent, name)
        self.function, self.keyed = function, keyed

    def open(self, epoch: int) -> Cursor:
        return _FlatMappedCursor(self, epoch)


class _FlatMappedCursor(Cursor):
    def __init__(self, step: FlatMapped, epoch: int) -> None:
        self._step, self._below = step, step.parent.open(epoch)
        self._before, self._whole = self._below.get_state(), Keyed((), epoch, None)
        self._parts: Iterator[Any] = iter(())
        self._inside = 0

    def __next__(self) -> Keyed:
        while True:
            for part in self._parts:
                self._inside += 1
                return Keyed((*self._whole.key, self._inside - 1), self._whole.epoch, part)
            self._enter()

    def _enter(self) -> None:
        self._before, self._inside = self._below.get_state(), 0
        self._whole = next(self._below)
        self._parts = iter(self._step.function(self._whole if self._step.keyed else self._whole.value))

    def get_state(self) -> State:
        return {"below": self._before, "inside": self._inside}

    def set_state(self, state: State) -> None:
        self._below.set_state(state["below"])
        self._before, self._parts, self._inside = state["below"], iter(()), 0
        if state["inside"]:
            self._enter()
            for _ in itertools.islice(self._parts, state["inside"]):
                self._inside += 1


class Regrouped(Step):
    """What a generator makes of the whole stream; its keys are places, its states are restored by making it again."""

    def __init__(self, parent: Node, function: Callable[[Iterator[Keyed]], Iterator[Any]], name: str) -> None:
        super().__init__(parent, name)
        self.function = function

    def open(self, epoch: int) -> Cursor:
        return _GeneratedCursor(self._make, epoch)

    def _make(self, epoch: int) -> Iterator[tuple[Key, Any] | Keyed]:
        return NumberedIterator(iter(self.function(self.parent.open(epoch))), source_key(self.name))
