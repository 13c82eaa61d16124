"""Sequences whose items are made when they are asked for, and not all held.

Tested in tests/tokenreel/planning/test_stage_table.py, tests/tokenreel/planning/test_group_table.py and
tests/tokenreel/format/test_shard_table.py.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TypeVar, overload

Item = TypeVar("Item", covariant=True)


class LazySequence(Sequence[Item]):
    """A sequence by its length and by what makes one item."""

    @abc.abstractmethod
    def _make(self, index: int) -> Item:
        """Makes an item; `index` lies in the sequence."""

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        numbers = range(len(self))[index]
        return [self._make(number) for number in numbers] if isinstance(numbers, range) else self._make(numbers)
