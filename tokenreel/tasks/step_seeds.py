"""The seed that random steps draw from, while a task puts its steps together.

A task opens `map_seed_manager` around its steps. Each random step asks it once, when it is called with a stream, and keeps the answer: the
seed of the task's run and a name of its own. `example_keys.seeds` then draws for each example.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator

_OF_A_STEP = 1000  # random functions that one step of a task may call


@dataclasses.dataclass
class StepSeeds:
    """What the steps of a task draw from.

    Attributes:
      seed: of the task's run.
      steps: random steps so far; a step's name holds its number, so that one function may stand twice in a task.
      compat: "seqio" draws as SeqIO does: by the place of an example in the stream. Steps over `tf.data` without keys always do.
      taken: integers that went into pairs of seeds.
    """

    seed: int
    steps: int = 0
    compat: str | None = None
    taken: int = 0

    def begin(self, step: int) -> None:
        """Leaves the names and the pairs of the steps before number `step` of a task to them, however many they take."""
        self.steps, self.taken = step * _OF_A_STEP, step * 2 * _OF_A_STEP

    def name(self, function: str) -> str:
        """Names a random step by its place among them and its function."""
        self.steps += 1
        return f"{self.steps - 1}/{function}"

    def pairs(self, count: int) -> list[tuple[int, int]]:
        """Takes the next pairs of integers from the seed on, for `tf.data.Dataset.random`, as SeqIO numbers its steps.

        >>> seeds = StepSeeds(42)
        >>> seeds.pairs(1), seeds.pairs(2)
        ([(42, 43)], [(44, 45), (46, 47)])
        """
        first = self.seed + self.taken
        self.taken += 2 * count
        return [(first + 2 * i, first + 2 * i + 1) for i in range(count)]


_CURRENT: contextvars.ContextVar[StepSeeds | None] = contextvars.ContextVar("tokenreel_step_seeds", default=None)


@contextlib.contextmanager
def map_seed_manager(initial_seed: int | None = None, compat: str | None = None) -> Iterator[StepSeeds]:
    """Sets the seed of the random steps that are put together inside; None stands for 0.

    >>> with map_seed_manager(42) as seeds:
    ...     current().seed, current().name("noise"), current().name("noise")
    (42, '0/noise', '1/noise')
    """
    seeds = StepSeeds(initial_seed or 0, compat=compat)
    token = _CURRENT.set(seeds)
    try:
        yield seeds
    finally:
        _CURRENT.reset(token)


def current() -> StepSeeds:
    """Gives what a step draws from that is put together now; outside of `map_seed_manager`, seed 0 anew for each step."""
    return _CURRENT.get() or StepSeeds(0)
