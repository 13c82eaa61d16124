"""Datasets as sources of Grain pipelines.

An opened `Dataset` is a random-access source as it is: `grain.MapDataset.source(load(path))`. Local records need no reading threads: give
`grain.ReadOptions(num_threads=0)`; the default of 16 halves the speed.
"""

from __future__ import annotations

from typing import Any

from tokenreel.errors import ConfigError
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.conversion import ConvertedExamples
from tokenreel.loaders.fields import Arrays


class ExampleSource(ConvertedExamples):
    """Examples with chosen or derived features, by number. Arguments and errors are those of `ConvertedExamples`."""


class BatchSource:
    """The batches of a run by number, in its exact order, which Grain then keeps: map over it, do not shuffle it.

    Args:
      batches: of a run that ends (`epochs`, a stop rule or a budget); `hosts`, `host` and `rows` hold.

    Raises:
      ConfigError: the run never ends, so it has no length; or `cu_seqlens` has no declared size.
    """

    def __init__(self, batches: Batches) -> None:
        if batches.num_batches is None:
            raise ConfigError("a Grain source has a length and this run never ends: give `epochs`, a stop rule or a budget")
        batches.options.check_whole_batches("Grain")
        self._batches, self._length = batches, batches.num_batches

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, step: int) -> Arrays:
        if not 0 <= step < self._length:
            raise IndexError(f"this run has the steps 0 to {self._length - 1:,}, got {step}")
        return self._batches.batch_at(step * self._batches.batch_size)

    def __repr__(self) -> str:
        state: dict[str, Any] = self._batches.get_state(0)
        return f"BatchSource({state}, batch_size={self._batches.batch_size})"
