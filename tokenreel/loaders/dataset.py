"""A dataset as a trainer sees it: numbered examples, and batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy.typing as npt

from tokenreel.loaders import trace
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.examples import Examples
from tokenreel.loaders.reader import Source
from tokenreel.loaders.run_options import DatasetKeywords, RunOptions, check_epochs
from tokenreel.order import ALL_USED, Lanes, Plan


class Dataset(Examples):
    """One split of a dataset: its examples by number, and batches of them in the order of a run."""

    def plan(self, *, seed: int = 0, shuffle: bool | Lanes = True, epochs: int | None = None, skip: Sequence[tuple[int, int]] = ()) -> Plan:
        """The order of the samples, as `batches` delivers them."""
        check_epochs(epochs)
        if isinstance(shuffle, Lanes):
            shuffle = shuffle.resolve(self.records.stride)
        self.records.prepare(shuffle)
        stop = None if epochs is None else ALL_USED
        return Plan([""], [len(self)], seed=seed, shuffle=shuffle, stop=stop, epochs=epochs or 1, skip=skip)

    def batches(self, batch_size: int, **options: Unpack[DatasetKeywords]) -> Batches:
        """Iterates over batches, in an order that depends on the data, the seed and `shuffle` alone.

        Args:
          batch_size: rows of the global batch, over all hosts.
          **options: any other fields of `RunOptions`: `seed`, `shuffle`, `epochs`, `skip`; `features`, `across_documents`, `objective`,
            `variant`; `hosts`, `host`, `rows`, `drop_remainder`, `pad_remainder`, `prefetch`.

        Raises:
          ConfigError: an option is impossible.
        """
        run = RunOptions(batch_size=batch_size, **options)
        plan = self.plan(seed=run.seed, shuffle=run.shuffle, epochs=run.epochs, skip=run.skip)
        return Batches([Source(self, run)], plan, run)

    def objective(self, name: str, *, seq_len: int | None = None, **settings: Any) -> Any:
        """Makes an objective for this dataset's vocabulary, to be applied on the fly: `batches(objective=...)`.

        Args:
          name: one of `objectives.OBJECTIVES`.
          seq_len: positions the model reads; None for the dataset's. T5 reads fewer than an example holds.
          **settings: of the objective.

        Raises:
          ConfigError: a setting is unknown or impossible.
        """
        from tokenreel.objectives import make_objective

        info = self.manifest.vocabulary
        special = tuple(sorted({i for i in (info.pad_id, info.bos_id, info.eos_id, info.unk_id) if i is not None}))
        facts = {"vocab_size": info.vocab_size, "pad_id": self.manifest.pad_id, "eos_id": info.eos_id, "special_ids": special}
        return make_objective(name, seq_len=self.manifest.seq_len if seq_len is None else seq_len, vocabulary=facts, **settings)

    def documents(self, examples: npt.ArrayLike, *, vocabulary: Any = None) -> list[list[dict[str, Any]]]:
        """Lists the documents in each of [k] examples; see `trace.documents`."""
        return trace.documents(self, examples, vocabulary=vocabulary)

    def where(
        self, step: int, batch_size: int, *, vocabulary: Any = None, rows: npt.ArrayLike | None = None, **order: Any
    ) -> list[Mapping[str, Any]]:
        """Says what was in a step of a run with a constant batch size; see `trace.where`. `order` is what `batches` was given."""
        return self.batches(batch_size, prefetch=0, **order).where(step, rows=rows, vocabulary=vocabulary)

    def when(self, example: int, batch_size: int, *, limit: int | None = None, **order: Any) -> list[Mapping[str, int]]:
        """Lists the steps that see an example; see `trace.when`. `order` is what `batches` was given."""
        return self.batches(batch_size, prefetch=0, **order).when(example, limit=limit)
