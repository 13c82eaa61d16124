"""The sizes of all groups, as columns: where each lies in its split, and which of them hold a range of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.lazy_sequence import LazySequence
from tokenreel.planning.group_documents import DocumentGroup
from tokenreel.storage.column_file import Columns, Row

SORT_BY = ("index",)
_DROPPED = "dropped_tokens/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupSize:
    """What a group amounts to.

    Attributes:
      group: the group that was measured.
      documents: their number.
      tokens: in them, bos and eos included.
      added_tokens: how many of these an objective put there.
      examples: rows of the group's layout; 0 for `wrap`, whose examples cross groups.
      dropped_documents: documents of which no token is laid out.
      dropped_document_tokens: the tokens of these.
      dropped_tokens: tokens that are not laid out, by reason.
      document_lengths: [64] number of documents whose token count has so many binary digits.
    """

    group: DocumentGroup
    documents: int
    tokens: int
    added_tokens: int
    examples: int
    dropped_documents: int
    dropped_document_tokens: int
    dropped_tokens: Mapping[str, int]
    document_lengths: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacedGroup:
    """A group and its range [begin, end) in the split: of tokens for `wrap`, of examples for the other layouts.

    Attributes:
      size: the group.
      begin, end: its range.
      documents: how many documents the groups before it hold.
    """

    size: GroupSize
    begin: int
    end: int
    documents: int


_COUNTS = ("documents", "tokens", "added_tokens", "examples", "dropped_documents", "dropped_document_tokens")


def to_row(size: GroupSize) -> Row:
    """Turns the size of a group into a row of a table."""
    group = size.group
    row: dict[str, Any] = {name: getattr(size, name) for name in _COUNTS}
    row |= {f"{_DROPPED}{reason}": count for reason, count in size.dropped_tokens.items()}
    row |= {"split": group.split, "index": group.index, "document_lengths": size.document_lengths}
    row |= {"low": str(group.low), "high": str(group.high)}  # up to 2**64, which is no int64
    row |= {name: -1 if (value := getattr(group, name)) is None else value for name in ("source", "repeat")}
    return row


def _from_row(row: Mapping[str, Any]) -> GroupSize:
    source, repeat = (None if row[name] < 0 else row[name] for name in ("source", "repeat"))
    return GroupSize(
        group=DocumentGroup(
            split=row["split"], index=row["index"], low=int(row["low"]), high=int(row["high"]), source=source, repeat=repeat
        ),
        dropped_tokens={name.removeprefix(_DROPPED): count for name, count in row.items() if count and name.startswith(_DROPPED)},
        document_lengths=row["document_lengths"],
        **{name: row[name] for name in _COUNTS},
    )


def dropped(columns: Columns) -> dict[str, int]:
    """Adds the tokens that groups do not lay out, by reason."""
    names = sorted(name for name in columns.arrays if name.startswith(_DROPPED))
    return {name.removeprefix(_DROPPED): int(columns.numbers(name).sum()) for name in names}


class PlacedGroups(LazySequence[PlacedGroup]):
    """The groups of a split, laid end to end."""

    def __init__(self, columns: Columns) -> None:
        """Takes a table with the columns `begin`, `end` and `before`, sorted by them; see `place`."""
        self.columns = columns
        self.begin, self.end = columns.numbers("begin"), columns.numbers("end")

    def __len__(self) -> int:
        return self.columns.rows

    def _make(self, index: int) -> PlacedGroup:
        row = self.columns.row(index)
        return PlacedGroup(size=_from_row(row), begin=row["begin"], end=row["end"], documents=row["before"])

    def touching(self, low: int, high: int) -> npt.NDArray[np.int64]:
        """Finds the groups that hold a part of [low, high), by bisection: their int64 numbers, ascending."""
        first = int(np.searchsorted(self.end, low, side="right"))
        last = max(first, int(np.searchsorted(self.begin, high, side="left")))
        return first + np.flatnonzero(self.begin[first:last] < self.end[first:last])

    def between(self, low: int, high: int) -> Iterator[PlacedGroup]:
        """Yields the groups that hold a part of [low, high), in order."""
        return (self[index] for index in self.touching(low, high).tolist())


def place(columns: Columns, *, by_tokens: bool) -> PlacedGroups:
    """Lays groups end to end, by their tokens or by their examples.

    Args:
      columns: the groups of a split, sorted by their index.
      by_tokens: tells which.
    """
    sizes, documents = columns.numbers("tokens" if by_tokens else "examples"), columns.numbers("documents")
    end = np.cumsum(sizes)
    places = {"begin": end - sizes, "end": end, "before": np.cumsum(documents) - documents}
    return PlacedGroups(Columns(columns.rows, {**columns.arrays, **places}))
