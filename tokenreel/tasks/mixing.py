"""Several streams as one, in exact proportions at every step.

Of weights w1, w2, ... whose sum is W, stream i has given floor(k wi / W) or ceil(k wi / W) examples after k of the mixture: its j-th
example may come from place floor((j - 1) W / wi) on and must come before ceil(j W / wi), and of those that may come the one that must come
first is taken. For jobs of length 1 with such windows that order misses none (Baruah, Cohen, Plaxton & Varvel, "Proportionate progress",
1996).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.tasks.stream_nodes import Cursor, Keyed, Node, State

FIRST_EMPTY, ALL_USED = "first_empty", "all_used"


class Turns:
    """Whose turn it is, step by step.

    Args:
      weights: of each stream, 0 for one that has ended; integers of any size.
      names: of the streams. Ties are broken by them and the seed.
      seed: any integer.

    >>> turns = Turns([2, 1], ["a", "b"], seed=0)
    >>> chosen = [turns.next() for _ in range(9)]
    >>> [chosen[:step].count(0) for step in (3, 6, 9)]
    [2, 4, 6]
    """

    def __init__(self, weights: Sequence[int], names: Sequence[str], seed: int) -> None:
        self.weights, self._total = list(weights), sum(weights)
        self._ranks = [keys.key(seed, "tasks/turns", name) for name in names]
        self.restart([0] * len(weights))

    def restart(self, counts: Sequence[int]) -> None:
        """Goes to the place at which each stream has given so many examples."""
        self.counts, self._step = list(counts), sum(counts)
        self._waiting: list[tuple[int, int]] = []
        self._ready: list[tuple[int, int, int]] = []
        for stream, weight in enumerate(self.weights):
            if weight:
                self._queue(stream)

    def _queue(self, stream: int) -> None:
        """Puts the next example of a stream among those that may come now, or later."""
        release = self.counts[stream] * self._total // self.weights[stream]
        if release > self._step:
            heapq.heappush(self._waiting, (release, stream))
        else:
            heapq.heappush(self._ready, (self._deadline(stream), self._ranks[stream], stream))

    def _deadline(self, stream: int) -> int:
        return -(-(self.counts[stream] + 1) * self._total // self.weights[stream])

    def next(self) -> int:
        """Gives the number of the stream whose turn it is, and goes on."""
        while self._waiting and self._waiting[0][0] <= self._step:
            _, stream = heapq.heappop(self._waiting)
            heapq.heappush(self._ready, (self._deadline(stream), self._ranks[stream], stream))
        _, _, stream = heapq.heappop(self._ready)
        self.counts[stream] += 1
        self._step += 1
        self._queue(stream)
        return stream


class Mixed(Node):
    """The examples of several nodes, in turns by their weights.

    A node that has ended is left out, and the others go on in their own proportions.

    Args:
      parents: what is mixed.
      names: of the parents.
      weights: integers; one of weight 0 gives nothing.
      seed: breaks ties between turns.
      stop: `ALL_USED` ends with the last of them, `FIRST_EMPTY` when it is the turn of one that has ended, a number after so many examples.

    Raises:
      ConfigError: the rule is unknown, or no weight is above 0.
    """

    def __init__(self, parents: Sequence[Node], names: Sequence[str], weights: Sequence[int], seed: int, stop: str | int) -> None:
        if stop not in (FIRST_EMPTY, ALL_USED) and (isinstance(stop, (str, bool)) or stop < 0):
            raise ConfigError(f"a mixture stops at {FIRST_EMPTY!r}, at {ALL_USED!r} or after a number of examples, got {stop!r}")
        if not any(weights):
            raise ConfigError(f"a mixture needs a rate above 0: all of {', '.join(names)} have rate 0")
        self.parents, self.names, self.weights, self.seed, self.stop = list(parents), list(names), list(weights), seed, stop
        self.name = f"mixture({dict(zip(names, weights, strict=True))}, seed={seed}, stop={stop!r})"

    def open(self, epoch: int) -> Cursor:
        """Begins a pass."""
        return _MixedCursor(self, epoch)

    def describe(self) -> list[str]:
        """Names the steps of all parents, then this one."""
        return [
            *(f"{name}: {step}" for name, parent in zip(self.names, self.parents, strict=True) for step in parent.describe()),
            self.name,
        ]

    def length(self) -> int | None:
        """Counts the examples of all parents, where nothing stops before."""
        lengths = [parent.length() for parent, weight in zip(self.parents, self.weights, strict=True) if weight]
        known = [length for length in lengths if length is not None]
        if len(known) < len(lengths) or self.stop == FIRST_EMPTY:
            return None
        return sum(known) if self.stop == ALL_USED else min(sum(known), int(self.stop))

    def is_endless(self) -> bool:
        """Says whether a pass never ends."""
        endless = [parent.is_endless() for parent, weight in zip(self.parents, self.weights, strict=True) if weight]
        return isinstance(self.stop, str) and (any(endless) if self.stop == ALL_USED else all(endless))


class _MixedCursor(Cursor):
    def __init__(self, node: Mixed, epoch: int) -> None:
        self._node, self._given = node, 0
        self._below = [parent.open(epoch) if weight else None for parent, weight in zip(node.parents, node.weights, strict=True)]
        self._turns = Turns(node.weights, node.names, node.seed)

    def __next__(self) -> Keyed:
        node = self._node
        while any(self._turns.weights) and (isinstance(node.stop, str) or self._given < node.stop):
            before = list(self._turns.counts) if node.stop == FIRST_EMPTY else None
            turn = self._turns.next()
            cursor = self._below[turn]
            assert cursor is not None
            for element in cursor:
                self._given += 1
                return element
            if before is not None:
                self._turns.restart(before)
                break
            self._end(turn)
        raise StopIteration

    def _end(self, stream: int) -> None:
        """Leaves a stream out: the others begin their turns anew."""
        weights = [0 if number == stream else weight for number, weight in enumerate(self._turns.weights)]
        self._turns = Turns(weights, self._node.names, self._node.seed)

    def get_state(self) -> State:
        return {
            "given": self._given,
            "counts": list(self._turns.counts),
            "ended": [not now and bool(first) for now, first in zip(self._turns.weights, self._node.weights, strict=True)],
            "below": [None if cursor is None else cursor.get_state() for cursor in self._below],
        }

    def set_state(self, state: State) -> None:
        self._given = int(state["given"])
        weights = [0 if ended else weight for ended, weight in zip(state["ended"], self._node.weights, strict=True)]
        self._turns = Turns(weights, self._node.names, self._node.seed)
        self._turns.restart(state["counts"])
        for cursor, place in zip(self._below, state["below"], strict=True):
            if cursor is not None:
                cursor.set_state(place)
