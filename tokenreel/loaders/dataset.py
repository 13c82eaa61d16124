"""A dataset as a trainer sees it: numbered examples, and batches of them."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy.typing as npt

from tokenreel.errors import ConfigError, ManifestError, VocabularyError
from tokenreel.format import manifest as manifests
from tokenreel.format.features import FeatureStore
from tokenreel.loaders import trace
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.examples import Examples
from tokenreel.loaders.fields import DERIVED
from tokenreel.loaders.order.lanes import Lanes
from tokenreel.loaders.order.plan import ALL_USED, Plan
from tokenreel.loaders.reader import Source
from tokenreel.loaders.run_options import DatasetKeywords, RunOptions, check_epochs


class Dataset(Examples):
    """One split of a dataset: its examples by number, and batches of them in the order of a run."""

    def plan(self, *, seed: int = 0, shuffle: bool | Lanes = True, epochs: int | None = None, skip: Sequence[tuple[int, int]] = ()) -> Plan:
        """Makes the order of the samples, as `batches` delivers them; `RunOptions` says what the arguments mean.

        Raises:
          ConfigError: an argument is impossible.
        """
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
          ConfigError: an option is impossible, or the run would have no batch.
        """
        run = RunOptions(batch_size=batch_size, **options)
        plan = self.plan(seed=run.seed, shuffle=run.shuffle, epochs=run.epochs, skip=run.skip)
        batches = Batches([Source(self, run)], plan, run)
        batches.check_yields()
        return batches

    def with_features(self, features: str | os.PathLike[str] | FeatureStore, names: Sequence[str] | None = None) -> Dataset:
        """Gives this dataset with what a model says of its examples: the features are fields like those that are stored.

        Args:
          features: the directory that `tokenreel extract-features` wrote, or a `FeatureStore` of it.
          names: of the features wanted, such as `logprobs` or `layer.block`; None for all of the directory or the store.

        Raises:
          ManifestError: they are of another dataset or lack this split, or the directory does not hold what its manifest says.
          ConfigError: a feature has the name of a field.
        """
        store = features if isinstance(features, FeatureStore) and names is None else FeatureStore(_directory_of(features), names)
        if store.manifest.dataset != self.manifest.fingerprint:
            raise ManifestError(
                f"{store.directory}: features of the dataset with fingerprint {store.manifest.dataset}, and {self.path} has "
                f"{self.manifest.fingerprint}: its examples are others. Run `tokenreel extract-features` on this dataset."
            )
        if len(store.records(self.split)) != len(self):
            raise ManifestError(
                f"{store.directory}: holds {len(store.records(self.split)):,} examples, split {self.split!r} {len(self):,}."
            )
        if taken := [name for name in store.specs if name in (*self.features, *DERIVED)]:
            raise ConfigError(
                f"{store.directory}: the feature {taken[0]!r} has the name of a field of {self.path}; leave it out with names"
            )
        joined = copy.copy(self)
        joined.store = store
        return joined

    def objective(self, name: str, *, seq_len: int | None = None, **settings: Any) -> Any:
        """Makes an objective for this dataset's vocabulary, to be applied on the fly: `batches(objective=...)`.

        Args:
          name: one of `objectives.OBJECTIVES`.
          seq_len: positions the model reads; None for the dataset's. T5 reads fewer than an example holds.
          **settings: the objective's own, see docs/objectives.md; a token may be named wherever an id is asked for.

        Raises:
          ConfigError: a setting is unknown or impossible, or the vocabulary lacks what the objective needs, such as sentinels.
          VocabularyError: the objective needs what only the vocabulary itself tells, and it cannot be loaded; see `_objective_facts`.
        """
        from tokenreel.objectives.registry import check_sentinels, make_objective, needed_facts
        from tokenreel.objectives.special_ids import find_ids

        facts, older = self._objective_facts(name, needed_facts(name, settings))
        settings = find_ids("objective", settings, lambda token: self._find(token, facts), self.manifest.vocabulary.vocab_size)
        if settings.pop("pad_id", facts["pad_id"]) != facts["pad_id"]:
            raise ConfigError(f"objective.pad_id: the examples of {self.path} are padded with {facts['pad_id']}. Leave it out.")
        length = self.manifest.seq_len if seq_len is None else seq_len
        made = make_objective(name, seq_len=length, vocabulary=facts, older=older, **settings)
        check_sentinels(made)
        return made

    def _objective_facts(self, objective: str, needed: set[str]) -> tuple[dict[str, Any], bool]:
        """Gathers what an objective asks about the vocabulary, as a build does, and says whether the dataset is of version 1 of objectives.

        The manifest tells it, without a library that could read the vocabulary. Two things are looked up in the vocabulary's copy, and only
        for an objective that needs them: `characters`, which takes no library; and what a dataset of before lacks in its manifest.
        """
        info, packed, pad_id = self.manifest.vocabulary, self.manifest.objective_facts or {}, self.manifest.pad_id
        older = "special_names" not in packed
        facts = manifests.unpack_facts(packed, info.vocab_size)
        if not packed:  # built before manifests told the facts
            special = {i for i in (info.pad_id, info.bos_id, info.eos_id, info.unk_id) if i is not None}
            facts = {"special_ids": tuple(sorted(special))}
        if beside := needed & packed.keys() - facts.keys() if packed else needed:
            # What the manifest says goes before.
            facts = self._vocabulary_for(f"objective {objective} needs {', '.join(sorted(beside))}").objective_facts(older=older) | facts
        if "pieces" in needed:  # which no manifest tells
            facts["pieces"] = self._vocabulary_for(f"objective {objective} needs pieces").pieces()
        # Those of version 1 took what fills examples up for padding wherever it stood.
        with_text = not older and pad_id not in facts["special_ids"]
        facts |= {"vocab_size": info.vocab_size, "pad_id": pad_id, "pads_with_text": with_text, "eos_id": info.eos_id}
        return facts, older

    def _find(self, token: str, facts: Mapping[str, Any]) -> int | None:
        """Finds the id of a token: a special one in what the manifest tells, others in the vocabulary's copy."""
        if (known := facts.get("special_names", {}).get(token)) is not None:
            return int(known)
        found: int | None = self._vocabulary_for(f"a setting names {token!r}").find(token)
        return found

    def _vocabulary_for(self, why: str) -> Any:
        """Loads the vocabulary for what the manifest does not tell.

        Raises:
          VocabularyError: a library is missing.
        """
        try:
            return self.vocabulary()
        except VocabularyError as error:
            missing = error.__cause__
            if not isinstance(missing, ModuleNotFoundError):
                raise
            raise VocabularyError(
                f"{self.path}: {why}, which its manifest does not tell and its vocabulary does: pip install {missing.name}, or give "
                "objective() the values"
            ) from error

    def rows(self) -> Any:
        """Makes what gives single texts the rows that they would have in this dataset: a `tokenreel.loaders.rows.Rows`.

        Raises:
          ConfigError: the dataset's documents were cut into sentences.
          VocabularyError: the vocabulary's copy cannot be read, or a package that it needs is not installed.
        """
        from tokenreel.loaders.rows import Rows

        return Rows.of(self.manifest, self.vocabulary())

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


def _directory_of(features: str | os.PathLike[str] | FeatureStore) -> str | os.PathLike[str]:
    return features.directory if isinstance(features, FeatureStore) else features
