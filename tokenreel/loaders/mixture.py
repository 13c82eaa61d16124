"""Several datasets as one stream, in exact proportions, with stages and a stop rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Unpack

from tokenreel.errors import ConfigError
from tokenreel.format import naming, schema, sidecars
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.dataset import Dataset
from tokenreel.loaders.order.lanes import Lanes
from tokenreel.loaders.order.plan import Plan
from tokenreel.loaders.order.stages import MixtureStage, integer_weights
from tokenreel.loaders.reader import Source
from tokenreel.loaders.run_options import MixtureKeywords, RunOptions
from tokenreel.storage import files

TOKENS, EXAMPLES = "tokens", "examples"


class Mixture:
    """Draws from several datasets in proportions that hold exactly: within one example at the edge of every block of about a thousand.

    Args:
      datasets: by name. A source's own order depends on its name and size, not on the others, so sources can be added later.
      weights: by name, of the first stage; None for proportions of size, so that all are used up about together.
      by: what weights and `budget` count: "tokens" (real ones, where examples are padded) or "examples".
      stages: (sample, weights) of the stages after the first: the proportions from that sample of the run on.
      stop: "first_empty" ends before any dataset would repeat an example, "all_used" when every dataset was used up once; None never.
      epochs: uses of each dataset, for the two rules.
      budget: ends after so many tokens or examples instead.
      same_vocabulary: refuses datasets whose vocabularies differ.

    Raises:
      ConfigError: datasets do not fit together, or a setting is impossible.
    """

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        weights: Mapping[str, float] | None = None,
        *,
        by: str = TOKENS,
        stages: Sequence[tuple[int, Mapping[str, float]]] = (),
        stop: str | None = None,
        epochs: int = 1,
        budget: int | None = None,
        same_vocabulary: bool = True,
    ) -> None:
        if by not in (TOKENS, EXAMPLES):
            raise ConfigError(f"by must be {TOKENS} or {EXAMPLES}, got {by!r}")
        if stop is not None and budget is not None:
            raise ConfigError("give a mixture either a stop rule or a budget, not both")
        if budget is not None and budget < 1:
            raise ConfigError(f"budget must be at least 1, got {budget}")
        self.datasets, self.by, self.stop, self.epochs, self.budget = dict(datasets), by, stop, epochs, budget
        self._check_alike(same_vocabulary)
        self._tokens = [_tokens_per_example(dataset) if by == TOKENS else Fraction(1) for dataset in self.datasets.values()]
        if weights is None:  # by examples, so that each is read about once when all are
            first = integer_weights([Fraction(len(dataset)) for dataset in self.datasets.values()])
        else:
            first = self._in_examples(weights)
        self.stages = (
            MixtureStage(weights=first),
            *(MixtureStage(start=int(start), weights=self._in_examples(later)) for start, later in stages),
        )

    def _check_alike(self, same_vocabulary: bool) -> None:
        if not self.datasets:
            raise ConfigError("a mixture needs at least one dataset")
        (first_name, first), *others = self.datasets.items()
        for name, other in others:
            for what, of in _COMPARED.items():
                if of(first) != of(other) and (same_vocabulary or what != "vocabulary"):
                    raise ConfigError(
                        f"datasets {first_name!r} and {name!r} do not fit together: {what} is {of(first)} and {of(other)}. Build them alike"
                        + (", or give same_vocabulary=False if their ids mean the same." if what == "vocabulary" else ".")
                    )

    def _in_examples(self, weights: Mapping[str, float]) -> tuple[int, ...]:
        """Turns weights into integers that count examples."""
        if set(weights) != set(self.datasets):
            raise ConfigError(f"weights name {sorted(weights)}, the datasets are {sorted(self.datasets)}")
        # Through fractions, so that no rounding depends on the platform: the plan counts with these integers.
        whole = integer_weights([weights[name] for name in self.datasets])
        return integer_weights([Fraction(weight) / tokens for weight, tokens in zip(whole, self._tokens, strict=True)])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the datasets; a batch's `source` is a place in them."""
        return tuple(self.datasets)

    def plan(self, *, seed: int = 0, shuffle: bool | Lanes = True, skip: Sequence[tuple[int, int]] = ()) -> Plan:
        """Makes the order of the samples, as `batches` delivers them; `RunOptions` says what the arguments mean.

        Raises:
          ConfigError: an argument is impossible.
        """
        if isinstance(shuffle, Lanes):
            shuffle = shuffle.resolve(next(iter(self.datasets.values())).records.stride)
        for dataset in self.datasets.values():
            dataset.records.prepare(shuffle)

        def make(stop: str | int | None) -> Plan:
            sizes = [len(dataset) for dataset in self.datasets.values()]
            return Plan(self.names, sizes, seed=seed, shuffle=shuffle, stages=self.stages, stop=stop, epochs=self.epochs, skip=skip)

        plan = make(self.stop)  # with a budget it has no end yet: it tells how many samples the budget buys
        return plan if self.budget is None else make(self._samples_of_budget(plan))

    def _samples_of_budget(self, plan: Plan) -> int:
        """Finds the fewest samples that hold the budget."""
        assert self.budget is not None

        def spent(samples: int) -> Fraction:
            return sum((count * tokens for count, tokens in zip(plan.counts_before(samples), self._tokens, strict=True)), Fraction(0))

        # What is spent never falls from sample to sample, so the place where it reaches the budget is found by halving.
        low, high = 0, int(self.budget / min(self._tokens)) + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if spent(middle) >= self.budget else (middle + 1, high)
        return low

    def batches(self, batch_size: int, **options: Unpack[MixtureKeywords]) -> Batches:
        """Iterates over batches, as `Dataset.batches`; with several datasets each batch has a further field `source`, int32 [rows].

        Raises:
          ConfigError: an option is impossible, or the run would have no batch.
          TypeError: `epochs` is given, which belongs to the mixture.
        """
        if "epochs" in options:
            raise TypeError("the batches of a mixture take no epochs: give them to the mixture, Mixture(..., stop='all_used', epochs=2)")
        run = RunOptions(batch_size=batch_size, **options)
        plan = self.plan(seed=run.seed, shuffle=run.shuffle, skip=run.skip)
        batches = Batches([Source(dataset, run, name) for name, dataset in self.datasets.items()], plan, run)
        batches.check_yields()
        return batches


_COMPARED: dict[str, Callable[[Dataset], object]] = {
    "seq_len": lambda dataset: dataset.manifest.seq_len,
    "overlap": lambda dataset: dataset.manifest.overlap,
    "pad_id": lambda dataset: dataset.manifest.pad_id,
    "the set of features": lambda dataset: _shapes(dataset),
    "what labels mean": lambda dataset: dataset.label_names,
    "vocabulary": lambda dataset: dataset.manifest.vocabulary.fingerprint,
}


def _shapes(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    joined = {} if dataset.store is None else {name: spec.shape for name, spec in dataset.store.specs.items()}
    return {feature.name: feature.shape for feature in dataset.manifest.features} | joined


def _tokens_per_example(dataset: Dataset) -> Fraction:
    """Gives the mean number of real tokens in an example, from the build's statistics where examples are padded.

    Raises:
      ConfigError: the statistics are missing, or do not tell.
      ManifestError: they are not what was written.
    """
    manifest = dataset.manifest
    if schema.NUM_TOKENS not in dataset.features:
        return Fraction(manifest.seq_len)
    path = files.join(dataset.path, naming.STATISTICS)
    try:
        with dataset.beside():
            found = sidecars.read_json(dataset.path, manifest, naming.STATISTICS)["splits"][dataset.split]
        return Fraction(int(found["tokens_in_examples"]), int(found["examples"]))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(
            f"{path}: does not say how many tokens the examples of {dataset.split!r} hold ({error!r}), which mixing by tokens needs where "
            "examples are padded. Copy the dataset again, or mix by examples."
        ) from error
