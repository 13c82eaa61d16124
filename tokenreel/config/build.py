"""The settings of a build: read from YAML, checked before any worker starts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

from tokenreel.config.corpus import (
    CorpusSettings,
    DuplicateConfig,
    ExecutionConfig,
    FilterConfig,
    LineRules,
    SourceConfig,
    check_splits,
    filter_semantics,
    source_semantics,
)
from tokenreel.config.parsing import require, to_dict
from tokenreel.format import labels
from tokenreel.format.labels import Label
from tokenreel.layouts import modes as packings

_ALIGNED_EXAMPLES = 64  # shards hold a multiple of this, where that many fit: batches then end with shards


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Subword regularisation: each document's tokens are drawn among its segmentations, by the seed and the document's name.

    Attributes:
      alpha: as in SentencePiece. Unigram models: the exponent of a segmentation's probability, 0 for all alike, large for the best. BPE
        models: the rate at which merges are left out, 0 for none, 1 for single characters.
      nbest_size: unigram models draw among so many best segmentations (of the whole document, so this is for short ones); -1 among all.
    """

    alpha: float = 0.1
    nbest_size: int = -1

    def __post_init__(self) -> None:
        require(0 <= self.alpha < float("inf"), f"vocabulary.sampling.alpha must be 0 or more, got {self.alpha}")
        require(
            self.nbest_size == -1 or 2 <= self.nbest_size <= 512,
            f"vocabulary.sampling.nbest_size must be -1 (among all) or lie between 2 and 512, got {self.nbest_size}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """What turns text into token ids.

    Attributes:
      kind: `sentencepiece`, `bytes` (the ids of ByT5), `characters`, `huggingface` (the `tokenizer.json` of the `tokenizers` library),
        `tiktoken` (a file of ranks, or a `tekken.json`) or `pass_through` (texts are token ids already, as numbers between white space).
      path: of the model file (for `huggingface` also a `vocab.json` beside its `merges.txt`, or a `vocab.txt`); `bytes` and `pass_through`
        have none.
      options: of the kind. `sentencepiece`: `extra_ids`, `special_tokens`, `memo_bytes`; `bytes`: `extra_ids`; `huggingface`: `pad_id`,
        `bos_id`, `eos_id`, `unk_id`, `mask_id`, `cls_id`, `sep_id` (an id or the name of an added token), `special_tokens`,
        `memo_bytes`; `tiktoken`: the same, and `pattern` and `added_tokens`; `pass_through`: `vocab_size`, `pad_id` and so on.
      offsets: also store where each token lies in its document's text, in characters, as `token_begins` and `token_ends` (8 bytes a token
        more in the stage files and in the dataset; for tagging and question answering, see `tokenreel.format.token_spans`).
      sampling: draw the tokens at random, `sentencepiece` only; about five times as slow. None takes the best segmentation.
    """

    kind: Literal["sentencepiece", "bytes", "characters", "huggingface", "tiktoken", "pass_through"] = "sentencepiece"
    path: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    offsets: bool = False
    sampling: SamplingConfig | None = None

    def __post_init__(self) -> None:
        require(
            self.sampling is None or self.kind == "sentencepiece",
            f"vocabulary.sampling needs kind sentencepiece; the tokens of {self.kind} cannot be drawn",
        )
        require(self.sampling is None or not self.offsets, "vocabulary.offsets does not go with vocabulary.sampling: leave one of them out")
        model = {
            "sentencepiece": "a model file (`tokenreel train-tokenizer` makes one)",
            "characters": "a JSON model file (`tokenreel train-tokenizer` makes one)",
            "huggingface": "a tokenizer.json",
            "tiktoken": "a .tiktoken file or a tekken.json",
        }.get(self.kind)
        require(self.path is not None or model is None, f"vocabulary.path is missing: {self.kind} needs {model}")
        require(self.path is None or model is not None, f"vocabulary.path has no meaning: {self.kind} reads no file. Leave it out.")
        require(
            self.kind != "pass_through" or "vocab_size" in self.options, "vocabulary.options.vocab_size is missing: pass_through needs it"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OrderConfig:
    """The order in which documents are laid into examples.

    Attributes:
      mode: `shuffle` sorts by a hash of (seed, document); `source` keeps sources, paths and positions; `field` sorts by each source's
        `order_field`, so that related documents share examples (in-context pretraining, Shi et al. 2023, arXiv:2310.10638).
      group_tokens: documents are ordered and packed in groups of about so many tokens. A worker holds one group in memory (2 to 4 bytes a
        token, twice); more tokens cost memory, fewer cost one more read from each block.
    """

    mode: Literal["shuffle", "source", "field"] = "shuffle"
    group_tokens: int = 1 << 24

    def __post_init__(self) -> None:
        require(self.group_tokens >= 1, f"order.group_tokens must be at least 1, got {self.group_tokens}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackingConfig:
    """How documents become examples of one size.

    Attributes:
      mode: `wrap` lays documents end to end and cuts; `best_fit` combines whole documents so that next to nothing is padded and none that
        fits is cut; `first_fit` and `next_fit` do so in the order the documents come; `wrap_within_document` and `pad` never put two
        documents into one example; `full_sentences` fills examples with whole sentences (RoBERTa); `segment_pairs` makes BERT's and
        ALBERT's pairs; `buckets` takes the pieces of L tokens of documents cut into powers of two (build once for each L).
      seq_len: positions in an example (L).
      overlap: 1 stores L + 1 tokens, the last repeated as the first of the next example, so that every token is a target exactly once.
      add_bos: begin each document with the vocabulary's bos id.
      add_eos: end each document with the vocabulary's eos id.
      separator_id: an id (or the name of a piece) to end each document with instead, for vocabularies without eos.
      last_example: `drop` leaves out the tokens that do not fill an example (and counts them); `pad` fills it up. By default as the mode
        does it: `wrap` drops, `wrap_within_document` pads.
      long_documents: what becomes of documents over L in modes that keep documents whole: `split`, `truncate` or `drop`.
      max_segments: at most so many documents in an example.
      align: each document takes a multiple of so many positions, for models that downsample; must divide L.
      sentences: how documents are cut into sentences, for `full_sentences` and `segment_pairs`: `newline` or `rules` (see
        `tokenreel.curation.sentences`). Each sentence is then tokenized by itself.
      per_source: never put documents of two sources into one example, so that mixture weights stay true; not for `wrap`.
      options: further settings of the mode: `open_examples` of `first_fit`, `flush_every` of `next_fit`, `min_tokens` of
        `wrap_within_document` and `full_sentences`, `cross_documents` of `full_sentences`, `min_exponent` and `max_exponent` of `buckets`,
        `first_id`, `task` and `short_rate` of `segment_pairs`.
    """

    mode: str = "wrap"
    seq_len: int = 1024
    overlap: Literal[0, 1] = 0
    add_bos: bool = False
    add_eos: bool = True
    separator_id: int | str | None = None
    last_example: Literal["drop", "pad"] | None = None
    long_documents: Literal["split", "truncate", "drop"] | None = None
    max_segments: int | None = None
    align: int | None = None
    sentences: Literal["newline", "rules"] | None = None
    per_source: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require(2 <= self.seq_len <= 1 << 24, f"packing.seq_len must be at least 2 and at most {1 << 24:,}, got {self.seq_len:,}")
        if self.separator_id is not None:
            require(not self.add_eos, "packing.separator_id stands in place of eos: set packing.add_eos to false")
        needs_sentences = self.mode in ("full_sentences", "segment_pairs")
        require(not needs_sentences or self.sentences is not None, f"packing.mode {self.mode} needs packing.sentences: newline or rules")
        require(needs_sentences or self.sentences is None, f"packing.sentences has no meaning in mode {self.mode}")
        require(
            not (self.per_source and self.cuts_stream),
            "packing.per_source keeps sources apart in every mode but wrap, whose stream runs through all of them: build one dataset for "
            "each source and mix them in the loader",
        )
        own = {"separator_id": self.separator_id} if self.mode == packings.PAIRS else {}
        packings.check(mode=self.mode, seq_len=self.seq_len, **self.settings(), **own)

    @property
    def cuts_stream(self) -> bool:
        """Whether examples are cut from one stream of tokens through all groups of documents."""
        return self.mode == "wrap"

    def settings(self) -> dict[str, Any]:
        """What `tokenreel.layouts.modes.lay_out` takes beside mode and length; None stands for the mode's default."""
        given = {name: getattr(self, name) for name in ("last_example", "long_documents", "max_segments", "align")}
        return {**given, "overlap": self.overlap or None, **self.options}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardFiles:
    """The files that hold the examples.

    Attributes:
      examples: in every shard but the last; by default as many as make about `megabytes`.
      megabytes: aimed at where `examples` is not given.
      format: `fixed` gathers at memory speed; `int64_list` is what SeqIO and most `tf.data` code parse, several times larger and slower.
    """

    examples: int | None = None
    megabytes: int = 64
    format: Literal["fixed", "int64_list"] = "fixed"

    def __post_init__(self) -> None:
        require(self.examples is None or self.examples >= 1, f"shards.examples must be at least 1, got {self.examples}")
        require(self.megabytes >= 1, f"shards.megabytes must be at least 1, got {self.megabytes}")

    def examples_per_shard(self, record_bytes: int) -> int:
        """Says how many examples every shard but the last holds, of records of so many bytes."""
        if self.examples is not None:
            return self.examples
        fitting = (self.megabytes << 20) // record_bytes
        return max(1, fitting // _ALIGNED_EXAMPLES * _ALIGNED_EXAMPLES or fitting)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardConfig(ShardFiles):
    """The files that hold the examples, and what says where these come from.

    Attributes:
      provenance: also write which document each token came from (1 to 3 % of the size).
    """

    provenance: bool = True


def check_view(seqio_view: bool, shards: ShardFiles) -> None:
    """Checks that SeqIO can read the records where it is to.

    Raises:
      ConfigError: it cannot.
    """
    require(
        not seqio_view or shards.format == "int64_list",
        f"seqio_view needs shards.format int64_list: of {shards.format} records SeqIO reads bytes, and no numbers. Set it, or leave "
        "seqio_view out",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobConfig(CorpusSettings):
    """A whole build.

    Attributes:
      output: the dataset directory to write, local or `gs://`.
      sources: the text, in order.
      vocabulary: what tokenizes it.
      filters: which documents to leave out.
      duplicates: what to remove because it is elsewhere in the corpus.
      splits: held-out splits and their share of the documents, such as `{validation: 0.5%}`. A document's split is a hash of its name: it
        never moves, whatever is added; the rest is `train`.
      order: of documents.
      packing: into examples.
      objective: name and settings of what is computed from each example, such as `{name: masked_lm}`.
      variants: copies of the data, each with its own random choices.
      shards: of examples.
      seqio_view: also write what SeqIO looks for beside shards, `info.<split>.json`, `stats.<split>.json` and `COMPLETED`: its own
        `use_cached=True` then reads the dataset. Needs `shards.format: int64_list`.
      seed: of every random choice.
      execution: how the job runs.
    """

    output: str
    sources: tuple[SourceConfig, ...]
    vocabulary: VocabularyConfig
    filters: FilterConfig = dataclasses.field(default_factory=FilterConfig)
    duplicates: DuplicateConfig = dataclasses.field(default_factory=DuplicateConfig)
    splits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    order: OrderConfig = dataclasses.field(default_factory=OrderConfig)
    packing: PackingConfig = dataclasses.field(default_factory=PackingConfig)
    objective: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"name": "causal_lm"})
    variants: int = 1
    shards: ShardConfig = dataclasses.field(default_factory=ShardConfig)
    seqio_view: bool = False
    seed: int = 0
    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)

    def __post_init__(self) -> None:
        require(bool(self.output), "output is empty: name the directory to write")
        require(bool(self.sources), "sources is empty: name at least one")
        names = [source.name for source in self.sources]
        require(len(set(names)) == len(names), f"sources.name must differ from source to source, got {names}")
        check_splits("splits", self.splits)
        for index in range(len(self.sources)):
            self.filters_of(index)
        if self.order.mode == "field":
            missing = [source.name for source in self.sources if source.order_field is None]
            require(not missing, f"order.mode field needs sources.order_field, which {', '.join(missing)} does not have")
        left = [sum(self.splits_of(index).values()) for index in range(len(self.sources))]
        require(min(left) < 1, f"splits take {min(left):.1%} of the documents and leave none to train on")
        require(
            self.vocabulary.kind != "pass_through" or self.packing.sentences is None,
            "packing.sentences needs text, and vocabulary.kind pass_through reads token ids",
        )
        if self.vocabulary.offsets:
            changed = [source.name for i, source in enumerate(self.sources) if self.filters_of(i).lines != LineRules()]
            require(
                not changed and self.duplicates.remove not in ("paragraphs", "lines"),
                "vocabulary.offsets counts the characters of the text as it was read, and filters.lines and duplicates.remove: paragraphs "
                "or lines take parts of it out: leave one of them out",
            )
        _ = self.labels  # which says where sources do not agree
        require(isinstance(self.objective.get("name"), str), "objective.name is missing, for example causal_lm")
        check_view(self.seqio_view, self.shards)
        require(self.variants >= 1, f"variants must be at least 1, got {self.variants}")
        require(
            self.variants == 1 or self.vocabulary.sampling is None,
            "vocabulary.sampling draws tokens before examples are laid out: set variants to 1, and build again with other seeds",
        )

    @functools.cached_property
    def labels(self) -> tuple[Label, ...]:
        """The labels of documents, of all sources."""
        return labels.of_sources({"label_fields": own.label_fields, "entity_fields": own.entity_fields} for own in self.sources)

    def semantics(self) -> dict[str, Any]:
        """The settings that decide the bytes of the dataset, as plain JSON values; without paths and without how the job runs."""
        settings: dict[str, Any] = to_dict(self)
        for name in ("output", "execution", "seed"):
            del settings[name]
        settings["sources"] = [source_semantics(source) for source in settings["sources"]]
        settings["filters"] = filter_semantics(settings["filters"])
        del settings["vocabulary"]["path"]  # the manifest holds the vocabulary's fingerprint
        settings["vocabulary"]["options"].pop("memo_bytes", None)
        if self.vocabulary.sampling is None:  # as before there was such a setting
            del settings["vocabulary"]["sampling"]
        if not self.seqio_view:  # as before there was such a setting
            del settings["seqio_view"]
        del settings["shards"]["megabytes"]  # decides only the number of examples, which the shards tell
        if self.order.mode == "source" and self.packing.mode == "wrap":
            del settings["order"]["group_tokens"]
        return settings
