"""The options of a run: what `Dataset.batches` and `Mixture.batches` take as keywords, checked in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.loaders.fields import CURSOR, OF_BATCH
from tokenreel.loaders.order.lanes import Lanes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)  # `rows` may be an array, which has no one truth of equality
class RunOptions:
    """How a run orders its samples, what its batches hold, and which of their rows this host gets.

    Attributes:
      batch_size: rows of the global batch, over all hosts. It may change at any step.
      seed: of the order, and of the objective's choices.
      shuffle: True for a new permutation of all examples each epoch; `Lanes` for blocks, for data across a network; False for the stored
        order.
      epochs: passes over the data; None never ends. A `Mixture` is given its epochs when it is made.
      skip: [start, end) ranges of samples to leave out, counted from the beginning of the run over all hosts.
      features: what a batch holds: stored features, any of `fields.DERIVED`, and "cursor", by which `Batches.state_after` gives the state
        once the batch is trained on; None for what is stored (or what the objective makes).
      across_documents: whether `loss_weights` count the prediction of a document's first token.
      cu_seqlens_size: entries of the feature `cu_seqlens`, for programs of static shapes: the last value is repeated. None for as many as
        the batch has segments, and one more.
      rename: the names that fields are to have in the batches, by their own, such as {"inputs": "input_ids"}.
      dtypes: the dtypes that fields are to have, by their own names, such as {"inputs": "int64"}.
      objective: from `Dataset.objective`, or anything with `apply(arrays, example_ids, *, seed, variant, epoch) -> dict`: computed for each
        batch, anew each epoch.
      variant: passed on to the objective.
      hosts: how many share the global batch.
      host: which of them this is: host h of H gets the contiguous rows [h * batch_size // H, (h + 1) * batch_size // H).
      rows: exactly these rows of the global batch instead, int [k]; None for the host's.
      drop_remainder: whether to leave out the last, smaller batch. Hosts see the same number of batches either way.
      pad_remainder: whether to fill the last batch up instead, with rows of padding: `example_id` -1, no weight, zeros elsewhere. For
        evaluation on many hosts, or with compiled shapes.
      prefetch: batches that one thread prepares ahead, each of which costs its memory; 0 prepares each when it is asked for.

    Raises:
      ConfigError: an option is impossible.
    """

    batch_size: int
    seed: int = 0
    shuffle: bool | Lanes = True
    epochs: int | None = None
    skip: Sequence[tuple[int, int]] = ()
    features: Sequence[str] | None = None
    across_documents: bool = False
    cu_seqlens_size: int | None = None
    rename: Mapping[str, str] | None = None
    dtypes: Mapping[str, Any] | None = None
    objective: Any = None
    variant: int = 0
    hosts: int = 1
    host: int = 0
    rows: npt.ArrayLike | None = None
    drop_remainder: bool = True
    pad_remainder: bool = False
    prefetch: int = 2

    def __post_init__(self) -> None:
        check_epochs(self.epochs)
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.host < self.hosts:
            raise ConfigError(f"host must lie between 0 and hosts - 1 = {self.hosts - 1}, got {self.host}")
        if self.prefetch < 0:
            raise ConfigError(f"prefetch must be at least 0, got {self.prefetch}")
        rows = self.row_numbers()
        if rows is not None and len(rows) and (rows.min() < 0 or rows.max() >= self.batch_size):
            raise ConfigError(f"rows must lie between 0 and batch_size - 1 = {self.batch_size - 1}, got {rows.min()} to {rows.max()}")

    @property
    def has_cursor(self) -> bool:
        """Whether each batch carries its cursor."""
        return self.features is not None and CURSOR in self.features

    @property
    def has_boundaries(self) -> bool:
        """Whether each batch says as a whole where its segments begin."""
        return self.features is not None and any(name in self.features for name in OF_BATCH)

    def check_whole_batches(self, consumer: str, sharded: str = "") -> None:
        """Checks for a consumer with static shapes that it can take `cu_seqlens` and `max_seqlen`, if they are asked for.

        Args:
          consumer: for the message.
          sharded: what cuts batches by their rows; "" for nothing.

        Raises:
          ConfigError: they have no axis of rows to be cut by, or no size was declared.
        """
        if not self.has_boundaries:
            return
        if sharded:
            raise ConfigError(f"{' and '.join(OF_BATCH)} have no axis of rows, and {sharded} cuts batches by rows: ask for segment_ids")
        if self.cu_seqlens_size is None:
            raise ConfigError(f"{consumer} needs shapes that do not change: declare the size of cu_seqlens with cu_seqlens_size")

    def row_numbers(self) -> npt.NDArray[np.int64] | None:
        """Gives `rows` as int64 [k]; None where the host's rows are meant."""
        return None if self.rows is None else np.asarray(self.rows, dtype=np.int64).reshape(-1)


def check_epochs(epochs: int | None) -> None:
    """Checks a number of passes over the data.

    Raises:
      ConfigError: it is less than one.
    """
    if epochs is not None and epochs < 1:
        raise ConfigError(f"epochs must be at least 1, or None for no end, got {epochs}")


class MixtureKeywords(TypedDict, total=False):
    """The keywords of `Mixture.batches`, for type checkers and editors; `RunOptions` says what they mean."""

    seed: int
    shuffle: bool | Lanes
    skip: Sequence[tuple[int, int]]
    features: Sequence[str] | None
    across_documents: bool
    cu_seqlens_size: int | None
    rename: Mapping[str, str] | None
    dtypes: Mapping[str, Any] | None
    objective: Any
    variant: int
    hosts: int
    host: int
    rows: npt.ArrayLike | None
    drop_remainder: bool
    pad_remainder: bool
    prefetch: int


class DatasetKeywords(MixtureKeywords, total=False):
    """The keywords of `Dataset.batches`: those of a mixture, and the epochs."""

    epochs: int | None
