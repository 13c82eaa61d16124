"""Several files read in turns, in the order of `tf.data`'s interleave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tokenreel.ragged import Ints, offsets_of
from tokenreel.tasks.example_keys import Key
from tokenreel.tasks.stream_nodes import Keyed, State


class InterleavedFiles(Iterator[tuple[Key, Any] | Keyed]):
    """Takes `block_length` examples of a file, then of the next, over `cycle_length` open files; one that ends makes room for another.

    A state holds how far each open file was read, so that restoring it reads those few again and none before.

    Args:
      read: makes an iterator over the examples of a file.
      files: their paths, in order.
      numbers: of each, for the keys: places among all files of the split.
      source: the number that the keys begin with.
      cycle_length: files that are open at a time.
      block_length: examples that are taken of one at a time.
    """

    def __init__(
        self,
        read: Callable[[str], Iterator[Any]],
        files: Sequence[str],
        numbers: Sequence[int],
        source: int,
        cycle_length: int,
        block_length: int,
    ) -> None:
        self._read, self._files, self._numbers, self._source = read, files, numbers, source
        self._block = block_length
        self._slots: list[tuple[int, int, Iterator[Any]] | None] = [None] * min(cycle_length, max(len(files), 1))
        self._next, self._slot, self._in_block = 0, 0, 0

    def __next__(self) -> tuple[Key, Any]:
        idle = 0
        while idle <= len(self._slots):
            if self._slots[self._slot] is None:
                if self._next >= len(self._files):
                    idle += 1
                    self._advance()
                    continue
                self._slots[self._slot] = (self._next, 0, iter(self._read(self._files[self._next])))
                self._next += 1
            file, taken, examples = self._slots[self._slot]  # type: ignore[misc]
            for example in examples:
                self._slots[self._slot] = (file, taken + 1, examples)
                self._in_block += 1
                if self._in_block == self._block:
                    self._advance()
                return (self._source, self._numbers[file], taken), example
            self._slots[self._slot] = None
            self._advance()
            idle = 0
        raise StopIteration

    def _advance(self) -> None:
        self._slot, self._in_block = (self._slot + 1) % len(self._slots), 0

    def get_state(self) -> State:
        """Gives which files are open, and how far each was read."""
        slots = [None if slot is None else [slot[0], slot[1]] for slot in self._slots]
        return {"next": self._next, "slot": self._slot, "in_block": self._in_block, "slots": slots}

    def set_state(self, state: State) -> None:
        """Opens the files again and reads each up to its place."""
        self._next, self._slot, self._in_block = state["next"], state["slot"], state["in_block"]
        self._slots = [None if slot is None else self._reopen(*slot) for slot in state["slots"]]

    def _reopen(self, file: int, taken: int) -> tuple[int, int, Iterator[Any]]:
        examples = iter(self._read(self._files[file]))
        for _ in range(taken):
            next(examples)
        return file, taken, examples


def places(counts: Sequence[int], cycle_length: int, block_length: int, file: Ints, number: Ints) -> Ints:
    """Says where examples of some files come when `InterleavedFiles` reads all of them.

    Args:
      counts: examples of each file.
      cycle_length: files that are open at a time.
      block_length: examples that are taken of one at a time.
      file: int64 [n] of which file an example is.
      number: int64 [n] its number in the file.

    Returns:
      int64 [n] the number of examples that are read before it.

    >>> places([3, 2], 2, 2, np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])).tolist()
    [0, 1, 4, 2, 3]
    """
    begins: list[list[int]] = [[] for _ in counts]  # of the blocks of each file
    slots: list[int | None] = [None] * min(cycle_length, max(len(counts), 1))
    following, slot, idle, read = 0, 0, 0, 0
    while idle < len(slots):
        at = slots[slot]
        if at is None and following < len(counts):
            at, following = following, following + 1
        if at is None:
            idle += 1
        else:
            idle = 0
            taken = min(block_length, counts[at] - block_length * len(begins[at]))
            begins[at].append(read)
            read += taken
            slots[slot] = at if taken == block_length else None
        slot = (slot + 1) % len(slots)
    blocks = offsets_of(np.array([len(each) for each in begins], np.int64))
    flat = np.array([begin for each in begins for begin in each], np.int64)
    return flat[blocks[file] + number // block_length] + number % block_length  # type: ignore[no-any-return]
