"""From located samples to the arrays of a batch: stored features are read, and derived ones and objectives computed.

Tested in tests/tokenreel/loaders/test_batches.py and test_mixture.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.format import schema
from tokenreel.loaders.examples import Examples
from tokenreel.loaders.fields import CURSOR, INPUTS, OF_BATCH, TARGETS, Arrays, Fields
from tokenreel.loaders.order.plan import Located
from tokenreel.loaders.run_options import RunOptions

_KEPT_BYTES = 16 << 20  # arrays of a batch up to this size are kept; glibc follows no block over 32 MB


class Source:
    """A dataset as a part of a run: which of its features are read, and which objective is computed on them.

    Args:
      dataset: the examples to read.
      options: the run's; its `features`, `across_documents`, `objective`, `variant` and `seed` say what a batch holds.
      name: of the dataset in a mixture; "" for the only one of a run.

    Raises:
      ConfigError: a feature is unknown or has the name of the cursor, or the objective takes examples of another length.
    """

    def __init__(self, dataset: Examples, options: RunOptions, name: str = "") -> None:
        self.dataset, self.name = dataset, name
        self.objective, self.variant = options.objective, options.variant
        # Examples of several sources have equal ids: their names keep the objective's choices apart.
        self.seed = keys.key(options.seed, "loader/objective", name) if name else options.seed
        stored = dataset.manifest.seq_len + dataset.manifest.overlap
        if not getattr(self.objective, "takes", lambda width: True)(stored):
            wanted = self.objective.raw_length()
            raise ConfigError(
                f"the objective takes examples of {wanted:,} tokens and those of {dataset.path} hold {stored:,}: make it for this length "
                f"(its `seq_len`), or build a dataset with packing.seq_len: {wanted}"
            )
        if options.has_cursor and CURSOR in dataset.features:
            raise ConfigError(f"{dataset.path} stores a feature {CURSOR!r}, which in `features` means the cursor of the run: leave it out")
        of_run = (*OF_BATCH, CURSOR)
        names = options.features if options.features is None else [name for name in options.features if name not in of_run]
        self.fields = Fields(
            dataset.manifest,
            names,
            objective=self.objective,
            across_documents=options.across_documents,
            bounds=options.has_boundaries,
            joined=dataset.joined,
        )

    def read(self, examples: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64]) -> Arrays:
        """Reads examples and makes the fields of the batch.

        Args:
          examples: int64 [k] numbers in the dataset, in range.
          epochs: int64 [k] how often the dataset was used up before each: an objective chooses anew in each epoch.

        Returns:
          {field: [k, ...]}.

        Raises:
          ManifestError: a record is not what was written.
          ConfigError: a wanted feature is neither stored, derived nor made by the objective.
        """
        if self.objective is None:
            return self.fields(self.dataset.stored(examples, self.fields.stored))
        arrays = self.dataset.stored(examples, self.dataset.features)  # which of them an objective uses is its own affair
        made = self._apply(arrays, examples, epochs)
        made.setdefault(schema.EXAMPLE_ID, examples)
        return self.fields({name: values.astype(np.int32) if values.dtype.kind == "u" else values for name, values in made.items()})

    def plan_reads(self, examples: npt.NDArray[np.int64]) -> list[Any] | None:
        """Prepares the reads of n batches of int64 [n, k] examples, for `fetch`.

        Returns:
          what `fetch` takes, for each batch; None where nothing stored is wanted, and with an objective or features of a model, whose work
          is so much more that planned reads gain nothing.
        """
        planned = self.objective is None and self.fields.stored and not set(self.dataset.joined) & set(self.fields.stored)
        return self.dataset.plan_reads(examples, self.fields.stored) if planned else None

    def fetch(self, read: Any, rows: int) -> Arrays:
        """Does what `read` does, for the k = `rows` examples of a read that `plan_reads` prepared."""
        return self.fields(self.dataset.fetch(read, self.fields.stored, rows))

    def _apply(self, arrays: Arrays, examples: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64]) -> Arrays:
        """Computes the objective on [k, ...] stored arrays; rows of different epochs one after the other, put back in their order."""
        parts: list[Arrays] = []
        order: list[npt.NDArray[np.int64]] = []
        for epoch in np.unique(epochs).tolist() or [0]:  # one, but for a batch that holds the end of an epoch
            rows = np.flatnonzero(epochs == epoch)
            some = arrays if len(rows) == len(epochs) else {name: values[rows] for name, values in arrays.items()}
            parts.append(self.objective.apply(some, examples[rows], seed=self.seed, variant=self.variant, epoch=epoch))
            order.append(rows)
        if len(parts) == 1:
            return dict(parts[0])
        back = np.argsort(np.concatenate(order), kind="stable")
        return {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}


def keep_freed_memory() -> None:
    """Lets the allocator keep the memory of a batch for the next one.

    glibc returns freed blocks above a threshold to the system, so that each batch would be paged in anew (400 page faults where now are 6).
    It raises the threshold to the size of a large block that is freed. This block is never touched, so it costs some microseconds and no
    memory; other allocators do not care.
    """
    np.empty(_KEPT_BYTES, dtype=np.uint8)


class Reader:
    """Reads the rows that a plan located, from one source or several.

    Args:
      sources: in the order of the plan.
      pads: whether there may be rows of padding, of example -1.
    """

    def __init__(self, sources: Sequence[Source], pads: bool = False) -> None:
        self.sources, self._pads = tuple(sources), pads
        keep_freed_memory()

    def read(self, located: Located) -> Arrays:
        """Reads [k] rows of one or several sources; with several, `source` says which. A row of example -1 is padding."""
        if not self._pads or (real := located.example >= 0).all():
            return self._read(located)
        found = self._read(Located(located.source[real], located.epoch[real], located.example[real]))
        pad_id = self.sources[0].dataset.manifest.pad_id
        fills = {schema.TOKENS: pad_id, INPUTS: pad_id, TARGETS: pad_id, schema.EXAMPLE_ID: -1}
        out = {name: np.full((len(real), *values.shape[1:]), fills.get(name, 0), values.dtype) for name, values in found.items()}
        for name, values in found.items():
            out[name][real] = values
        return out

    def _read(self, located: Located) -> Arrays:
        if len(self.sources) == 1:
            return self.sources[0].read(located.example, located.epoch)
        out: Arrays = {}
        for number in np.unique(located.source).tolist() or [0]:  # a host without rows gets the fields, empty
            rows = np.flatnonzero(located.source == number)
            part = self.sources[number].read(located.example[rows], located.epoch[rows])
            if not out:
                out = {name: np.empty((len(located.source), *values.shape[1:]), values.dtype) for name, values in part.items()}
            for name, values in part.items():
                out[name][rows] = values
        out["source"] = located.source.astype(np.int32)
        return out
