"""The settings of `tokenreel train-tokenizer`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

from tokenreel import keys
from tokenreel.config.corpus import (
    CorpusSettings,
    ExecutionConfig,
    FilterConfig,
    SourceConfig,
    check_splits,
    filter_semantics,
    source_semantics,
)
from tokenreel.config.parsing import to_dict
from tokenreel.config.paths import TRAINER_FILES
from tokenreel.errors import PATHS_BEGIN, ConfigError
from tokenreel.storage import files

_SAMPLE_BYTES = 100_000_000  # by default, for `sentencepiece`


@dataclasses.dataclass(frozen=True)
class Shares:
    """Says how a budget is divided among sources.

    Attributes:
      weights: the weight of each source.
      by_text: whether a weight is multiplied by the bytes that its source has.
    """

    weights: tuple[float, ...]
    by_text: bool

    def of(self, available: Sequence[int]) -> list[Fraction]:
        """Gives the exact weights, by the bytes of each source."""
        exact = [Fraction(repr(weight)) for weight in self.weights]
        return [weight * size for weight, size in zip(exact, available, strict=True)] if self.by_text else exact


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerJobConfig(CorpusSettings):
    """What a tokenizer is trained on, and how.

    Attributes:
      output: the directory to write, local or `gs://`: the model and its report.
      sources: the text.
      kind: `sentencepiece` or `characters`.
      options: of `sentencepiece`, every option of its trainer by its name (vocab_size, model_type, character_coverage, byte_fallback, ...);
        of `characters`, `min_count` (rarer characters are unknown, default 1), `max_size` (at most so many characters, the most frequent),
        `normalizer` (none, nfc, nfkc, nfkc_casefold, nfd, nfkd or lowercase) and `specials` (names of further ids, `[<mask>, <cls>]`).
      sample_bytes: text to train on. Training takes about ten times as much memory, on one worker. By default 100 MB for
        `sentencepiece`; `characters` counts the whole text.
      weights: the share of each source in the sample, by its name. By default a source's share is that of its text times its `epochs`.
        What a source has too little of is given to the others.
      filters: which documents to leave out, as in a build; limits in tokens, of which there are none yet, aside.
      splits: held-out splits, as in a build: the tokenizer sees nothing of them.
      max_document_bytes: of a longer document only the beginning is sampled, so that none fills the sample.
      held_out_bytes: text, beside the sample, that the report is measured on.
      seed: other seeds draw other samples.
      execution: how the job runs.
    """

    output: str
    sources: tuple[SourceConfig, ...]
    kind: Literal["sentencepiece", "characters"] = "sentencepiece"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sample_bytes: int | None = None
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    filters: FilterConfig = dataclasses.field(default_factory=FilterConfig)
    splits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    max_document_bytes: int = 100_000
    held_out_bytes: int = 1_000_000
    seed: int = 0
    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)

    def __post_init__(self) -> None:
        if not self.output:
            raise ConfigError("output is empty: name the directory to write")
        names = [source.name for source in self.sources]
        if not names:
            raise ConfigError("sources is empty: name at least one")
        if len(set(names)) != len(names):
            raise ConfigError(f"sources.name must differ from source to source, got {names}")
        for setting in ("sample_bytes", "max_document_bytes", "held_out_bytes"):
            value = getattr(self, setting)
            if value is not None and value < 1:
                raise ConfigError(f"{setting} must be at least 1, got {value}")
        check_splits("splits", self.splits)
        for index, source in enumerate(self.sources):
            filters = self.filters_of(index)
            if filters.min_tokens > 1 or filters.max_tokens is not None:
                raise ConfigError(
                    f"source {source.name}: filters.min_tokens and filters.max_tokens need tokens, of which there are none yet"
                )
            if filters.scores is not None:
                raise ConfigError(f"source {source.name}: filters.scores select what a build takes; a tokenizer is trained without them")
        if self.weights and set(self.weights) != set(names):
            raise ConfigError(f"weights must name every source once: the sources are {names}, the weights {list(self.weights)}")
        for name, weight in self.weights.items():
            if not 0 < weight < float("inf"):
                raise ConfigError(
                    f"weights.{name} must be positive, got {weight}; leave a source out of the config to sample nothing of it"
                )

    @property
    def budget(self) -> int | None:
        """Bytes to sample; None takes everything."""
        return _SAMPLE_BYTES if self.sample_bytes is None and self.kind == "sentencepiece" else self.sample_bytes

    @property
    def shares(self) -> Shares:
        """How the sample is divided among the sources."""
        if self.weights:
            return Shares(tuple(self.weights[source.name] for source in self.sources), by_text=False)
        return Shares(tuple(source.epochs for source in self.sources), by_text=True)

    @property
    def model_file(self) -> str:
        """Name of the model in the output directory."""
        return {"sentencepiece": "tokenizer.model", "characters": "tokenizer.json"}[self.kind]

    def semantics(self) -> dict[str, Any]:
        """The settings that decide the model and the report, as plain JSON values; without paths and without how the job runs."""
        settings: dict[str, Any] = to_dict(self)
        for name in ("output", "execution"):
            del settings[name]
        settings["sources"] = [source_semantics(source) for source in settings["sources"]]
        settings["filters"] = filter_semantics(settings["filters"])
        if self.kind == "sentencepiece":
            for option in TRAINER_FILES:  # the identity holds what they say
                settings["options"].pop(option, None)
        settings["sample_bytes"] = self.budget
        return settings

    def identity(self, inputs: Mapping[str, Any]) -> str:
        """The digest of everything that decides the model: settings, text, and the files that options name.

        Raises:
          ConfigError: such a file cannot be read.
        """
        contents = []
        for option in TRAINER_FILES if self.kind == "sentencepiece" else ():
            if path := self.options.get(option):
                try:
                    contents.append([option, keys.digest(files.read_bytes(str(path)))])
                except OSError as error:
                    raise ConfigError(f"options.{option}: cannot read {path} ({error.strerror or error}). {PATHS_BEGIN}") from error
        return keys.digest(json.dumps([self.semantics(), dict(inputs), contents], sort_keys=True))
