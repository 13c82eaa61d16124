"""The settings of a build: read from YAML, checked before any worker starts."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from tokenreel.errors import ConfigError
from tokenreel.layouts import modes as packings
from tokenreel.storage import files

SettingsT = TypeVar("SettingsT")
MAX_EPOCHS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One body of text.

    Attributes:
      files: paths, globs (`**` crosses directories) or directories, local or `gs://`; `@list.txt` for a file with one of these on each
        line, relative to it, and comments behind `#`. A document's identity is its path relative to the
        directory that all of them share, so a corpus can move without changing any dataset made from it.
      name: says in statistics and provenance where a document came from.
      format: `jsonl` (a JSON object a line), `csv`, `tsv`, `parquet`, `arrow` (streams and files; folders of Hugging Face `datasets`),
        `tfrecord` (of `tf.train.Example`) or `tfds` (folders of prepared TensorFlow Datasets), whose records have fields; `lines`,
        `paragraphs` (separated by blank lines) or `text` (the whole file) for plain text.
      text_field: holds the document. In tables the name of a column, where `a.b` is a value nested in the column `a`.
      id_field: names the document; without it the name is `path#position`. Two documents of one name keep one split.
      metadata_fields: kept in the provenance tables.
      order_field: a number or a text (of which 8 bytes count) to sort by, for `order.mode: field`.
      columns: of csv and tsv, their names where the first row does not tell them.
      delimiter: of csv and tsv, the one character between values; a comma and a tab.
      embedded_newlines: of csv and tsv, whether values in quotes may hold line ends. False lets large files be split among workers.
      split: of tfds and Hugging Face folders, the split to read.
      filters: settings that replace those of the same name in the config's `filters`, for this source alone.
      splits: in place of the config's `splits`, for this source alone: `{validation: 100%}` holds all of it out, `{}` nothing.
      epochs: how often the training split holds each document: 10% takes a tenth of the documents, 2.5 all of them twice and half of them
        a third time. Which ones is a hash of their names, so a smaller share is part of a larger one. Held-out splits repeat nothing.
        Copies lie far from each other.
      max_document_mb: a document that takes more of its file than this (markup of the format included) goes to the dead letters as
        `oversized`, so that no archive and no endless line exhausts a worker; one of this size takes about 10 times as much memory.
    """

    files: tuple[str, ...]
    name: str = "text"
    format: Literal["jsonl", "csv", "tsv", "parquet", "arrow", "tfrecord", "tfds", "lines", "paragraphs", "text"] = "jsonl"
    text_field: str = "text"
    id_field: str | None = None
    metadata_fields: tuple[str, ...] = ()
    order_field: str | None = None
    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    embedded_newlines: bool = True
    split: str | None = None
    filters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, float] | None = None
    epochs: float = 1.0
    max_document_mb: float = 64.0

    def __post_init__(self) -> None:
        _require(0 < self.max_document_mb <= 1e9, f"sources.max_document_mb must be positive and at most 1e9, got {self.max_document_mb}")
        _require(0 < self.epochs <= MAX_EPOCHS, f"sources.epochs must be positive and at most {MAX_EPOCHS}, got {self.epochs}")
        check_splits(f"source {self.name}: splits", self.splits or {})
        _require(bool(self.files), "sources.files names no file: give paths, globs or directories")
        if self.format in ("lines", "paragraphs", "text"):
            for field in ("id_field", "order_field", "metadata_fields"):
                _require(not getattr(self, field), f"sources.{field} needs format: jsonl or another with fields; {self.format} has none")
        if self.format not in ("csv", "tsv"):
            _require(not self.columns, f"sources.columns needs format: csv or tsv, got {self.format}")
            _require(self.delimiter is None, f"sources.delimiter needs format: csv or tsv, got {self.format}")
            _require(self.embedded_newlines, f"sources.embedded_newlines needs format: csv or tsv, got {self.format}")
        one = self.delimiter is None or (len(self.delimiter) == 1 and self.delimiter not in '\0\r\n"')
        _require(one, f"sources.delimiter is one character, and no quote or line end, got {self.delimiter!r}")
        if self.columns:
            for column in (self.text_field, self.id_field, self.order_field, *self.metadata_fields):
                _require(column is None or column in self.columns, f"sources.columns {list(self.columns)} lacks {column!r}")
            _require(len(set(self.columns)) == len(self.columns), f"sources.columns must differ from each other, got {list(self.columns)}")
        _require(self.split is None or self.format in ("tfds", "arrow"), f"sources.split needs format: tfds or arrow, got {self.format}")
        _require(self.split is not None or self.format != "tfds", "sources.split is missing: tfds folders hold several, such as train")

    @property
    def max_document_bytes(self) -> int:
        """`max_document_mb` in bytes."""
        return int(self.max_document_mb * (1 << 20))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineRules:
    r"""Which lines are taken out of documents, as C4 does; see `tokenreel.filters`. None is, unless a rule is set.

    Attributes:
      end_marks: only lines that end in one of these stay, such as `[".", "!", "?", '"']`; an ellipsis does not count as an end.
      min_words: lines with fewer words go.
      max_word_length: lines with a longer word go.
      drop_phrases: lines that hold one of these go, capital letters or not, such as `[javascript, cookie policy]`.
      remove_pattern: a regular expression; what it matches is cut out of the text before lines are judged, such as `\[\d*\]`.
    """

    end_marks: tuple[str, ...] = ()
    min_words: int = 0
    max_word_length: int | None = None
    drop_phrases: tuple[str, ...] = ()
    remove_pattern: str | None = None

    def __post_init__(self) -> None:
        _require(self.min_words >= 0, f"filters.lines.min_words must not be negative, got {self.min_words}")
        _require(self.max_word_length is None or self.max_word_length >= 1, "filters.lines.max_word_length must be at least 1")
        _require(all(self.end_marks), "filters.lines.end_marks holds an empty mark, in which every line ends")
        _require(all(self.drop_phrases), "filters.lines.drop_phrases holds an empty phrase, which every line holds")
        _check_pattern("filters.lines.remove_pattern", self.remove_pattern)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityRules:
    """Which documents do not read like text: the rules of MassiveText; see `tokenreel.filters`. Shares lie between 0 and 1.

    Attributes:
      min_mean_word_length: in characters, such as 3.
      max_mean_word_length: such as 10.
      max_symbols_per_word: `#` or ellipses for each word, such as 0.1.
      max_digits: share of the characters that are not white space.
      max_bullet_lines: share of the lines that begin with a bullet, such as 0.9.
      max_ellipsis_lines: share of the lines that end in an ellipsis, such as 0.3.
      min_words_with_letter: share of the words, such as 0.8.
      min_stop_words: how many of "the", "be", "to", "of", "and", "that", "have", "with" must occur, such as 2.
      max_repeated_lines: share of the lines that stood in the document before, such as 0.3.
      max_repeated_line_characters: share of the characters in them, such as 0.2.
      max_repeated_paragraphs: as for lines; blank lines separate paragraphs.
      max_repeated_paragraph_characters: as for lines.
      max_top_ngram: the most frequent n words in a row: share of the characters, such as `{2: 0.20, 3: 0.18, 4: 0.16}`.
      max_repeated_ngrams: n words in a row that stood in the document before: share of the characters, such as `{5: 0.15, 10: 0.10}`.
    """

    min_mean_word_length: float | None = None
    max_mean_word_length: float | None = None
    max_symbols_per_word: float | None = None
    max_digits: float | None = None
    max_bullet_lines: float | None = None
    max_ellipsis_lines: float | None = None
    min_words_with_letter: float | None = None
    min_stop_words: int = 0
    max_repeated_lines: float | None = None
    max_repeated_line_characters: float | None = None
    max_repeated_paragraphs: float | None = None
    max_repeated_paragraph_characters: float | None = None
    max_top_ngram: Mapping[str, float] = dataclasses.field(default_factory=dict)
    max_repeated_ngrams: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_digits", "max_bullet_lines", "max_ellipsis_lines", "min_words_with_letter", "max_repeated_lines"):
            _require_share(f"filters.quality.{name}", getattr(self, name))
        for name in ("max_repeated_line_characters", "max_repeated_paragraphs", "max_repeated_paragraph_characters"):
            _require_share(f"filters.quality.{name}", getattr(self, name))
        for name in ("max_top_ngram", "max_repeated_ngrams"):
            for n, share in getattr(self, name).items():
                _require(n.isdigit() and int(n) >= 1, f"filters.quality.{name}: {n} is no number of words")
                _require_share(f"filters.quality.{name}.{n}", share)
        _require(0 <= self.min_stop_words <= 8, f"filters.quality.min_stop_words must lie between 0 and 8, got {self.min_stop_words}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which documents are left out; each one is counted with its reason.

    Attributes:
      min_characters: shorter documents are left out. Empty ones always are.
      max_characters: longer documents are left out.
      min_tokens: documents with fewer tokens are left out.
      max_tokens: documents with more tokens are left out.
      keep_pattern: a regular expression; documents in which it is not found are left out.
      drop_pattern: a regular expression; documents in which it is found are left out.
      min_words: documents with fewer words (between white space) are left out.
      max_words: documents with more words are left out.
      min_sentences: documents with fewer sentences are left out.
      drop_phrases: documents that hold one of these, capital letters or not, are left out, such as `[lorem ipsum, "{"]`.
      bad_words: a file with a word or phrase on each line; documents that hold one as a word are left out.
      lines: which lines are taken out of documents before all other rules look at what is left.
      quality: which documents do not read like text.
    """

    min_characters: int = 1
    max_characters: int | None = None
    min_tokens: int = 1
    max_tokens: int | None = None
    keep_pattern: str | None = None
    drop_pattern: str | None = None
    min_words: int = 0
    max_words: int | None = None
    min_sentences: int = 0
    drop_phrases: tuple[str, ...] = ()
    bad_words: str | None = None
    lines: LineRules = dataclasses.field(default_factory=LineRules)
    quality: QualityRules = dataclasses.field(default_factory=QualityRules)

    def __post_init__(self) -> None:
        for unit, least in (("characters", 1), ("tokens", 1), ("words", 0)):
            low, high = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            _require(low >= least, f"filters.min_{unit} must be at least {least}, got {low}")
            _require(high is None or high >= low, f"filters.max_{unit} ({high}) is below filters.min_{unit} ({low}): nothing would be left")
        _require(self.min_sentences >= 0, f"filters.min_sentences must not be negative, got {self.min_sentences}")
        _require(all(self.drop_phrases), "filters.drop_phrases holds an empty phrase, which every document holds")
        _check_pattern("filters.keep_pattern", self.keep_pattern)
        _check_pattern("filters.drop_pattern", self.drop_pattern)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DuplicateConfig:
    """What is removed because the same text is elsewhere in the corpus, in any source.

    Which copy stays is decided by a hash of the documents' names, so splits and sources keep their shares.

    Attributes:
      remove: `documents` whose whole text, as the filters leave it, is that of another; `paragraphs` (between blank lines) or `lines` that
        are also elsewhere, in the text as it was read. Documents cost 32 bytes each; paragraphs and lines cost one more pass over the text.
      min_characters: shorter paragraphs and lines stay, however often they occur.
    """

    remove: Literal["none", "documents", "paragraphs", "lines"] = "none"
    min_characters: int = 1

    def __post_init__(self) -> None:
        _require(self.min_characters >= 1, f"duplicates.min_characters must be at least 1, got {self.min_characters}")
        if self.remove not in ("paragraphs", "lines"):
            _require(self.min_characters == 1, "duplicates.min_characters needs duplicates.remove: paragraphs or lines")


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
        _require(0 <= self.alpha < float("inf"), f"vocabulary.sampling.alpha must be 0 or more, got {self.alpha}")
        _require(
            self.nbest_size == -1 or 2 <= self.nbest_size <= 512,
            f"vocabulary.sampling.nbest_size must be -1 (among all) or lie between 2 and 512, got {self.nbest_size}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """What turns text into token ids.

    Attributes:
      kind: `sentencepiece`, `bytes` (the ids of ByT5), `characters`, `huggingface` (the `tokenizer.json` of the `tokenizers` library) or
        `pass_through` (texts are token ids already, as numbers between white space).
      path: of the model file; `bytes` and `pass_through` have none.
      options: of the kind. `sentencepiece`: `extra_ids`, `special_tokens`, `memo_bytes`; `bytes`: `extra_ids`; `huggingface`: `pad_id`,
        `bos_id`, `eos_id`, `unk_id` (an id or a name), `special_tokens`; `pass_through`: `vocab_size`, `pad_id` and so on.
      offsets: also store where each token lies in its document's text, in characters, as `token_begins` and `token_ends` (8 bytes a token
        more in the stage files and in the dataset; for tagging and question answering, see `tokenreel.format.token_spans`).
      sampling: draw the tokens at random, `sentencepiece` only; about five times as slow. None takes the best segmentation.
    """

    kind: Literal["sentencepiece", "bytes", "characters", "huggingface", "pass_through"] = "sentencepiece"
    path: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    offsets: bool = False
    sampling: SamplingConfig | None = None

    def __post_init__(self) -> None:
        _require(
            self.sampling is None or self.kind == "sentencepiece",
            f"vocabulary.sampling needs kind sentencepiece; the tokens of {self.kind} cannot be drawn",
        )
        _require(
            self.sampling is None or not self.offsets, "vocabulary.offsets does not go with vocabulary.sampling: leave one of them out"
        )
        model = {
            "sentencepiece": "a model file (`tokenreel train-tokenizer` makes one)",
            "characters": "a JSON model file (`tokenreel train-tokenizer` makes one)",
            "huggingface": "a tokenizer.json",
        }.get(self.kind)
        _require(self.path is not None or model is None, f"vocabulary.path is missing: {self.kind} needs {model}")
        _require(self.path is None or model is not None, f"vocabulary.path has no meaning: {self.kind} reads no file. Leave it out.")
        _require(
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
        _require(self.group_tokens >= 1, f"order.group_tokens must be at least 1, got {self.group_tokens}")


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
        `tokenreel.sentences`). Each sentence is then tokenized by itself.
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
        _require(2 <= self.seq_len <= 1 << 24, f"packing.seq_len must be at least 2 and at most {1 << 24:,}, got {self.seq_len:,}")
        if self.separator_id is not None:
            _require(not self.add_eos, "packing.separator_id stands in place of eos: set packing.add_eos to false")
        needs_sentences = self.mode in ("full_sentences", "segment_pairs")
        _require(not needs_sentences or self.sentences is not None, f"packing.mode {self.mode} needs packing.sentences: newline or rules")
        _require(needs_sentences or self.sentences is None, f"packing.sentences has no meaning in mode {self.mode}")
        _require(
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
class ShardConfig:
    """The files that hold the examples.

    Attributes:
      examples: in every shard but the last; by default as many as make about `megabytes`.
      megabytes: aimed at where `examples` is not given.
      format: `fixed` gathers at memory speed; `int64_list` is what SeqIO and most `tf.data` code parse, several times larger and slower.
      provenance: also write which document each token came from (1 to 3 % of the size).
    """

    examples: int | None = None
    megabytes: int = 64
    format: Literal["fixed", "int64_list"] = "fixed"
    provenance: bool = True

    def __post_init__(self) -> None:
        _require(self.examples is None or self.examples >= 1, f"shards.examples must be at least 1, got {self.examples}")
        _require(self.megabytes >= 1, f"shards.megabytes must be at least 1, got {self.megabytes}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How the job runs. Nothing here changes a byte of the dataset.

    Attributes:
      block_mb: text in one unit of work. 16 suits one machine, 64 a cluster. A worker holds about 12 times as much.
      stage: directory of the tokenized blocks. By default inside the output and removed at the end; a directory given here is kept, and a
        later build of the same text with other packing, order or seed finds its tokens there; `tokenreel cache` lists and clears it.
      max_reads: reads of parts of stage files that assembling the shards may take; a build that needs more stops before the first of them
        and says what would lower their number. A shuffle reads each group from every stage file. In a bucket a million reads cost about
        half an hour of one worker.
      max_dead_letter_fraction: the build fails if more of the documents than this cannot be read.
    """

    block_mb: float = 16.0
    stage: str | None = None
    max_reads: int = 20_000_000
    max_dead_letter_fraction: float = 0.1

    def __post_init__(self) -> None:
        _require(0 < self.block_mb <= 1e9, f"execution.block_mb must be positive and at most 1e9, got {self.block_mb}")
        _require(self.max_reads >= 1, f"execution.max_reads must be at least 1, got {self.max_reads}")
        _require(0 <= self.max_dead_letter_fraction <= 1, "execution.max_dead_letter_fraction lies between 0 and 1")

    @property
    def block_bytes(self) -> int:
        """`block_mb` in bytes."""
        return max(1, int(self.block_mb * (1 << 20)))


class CorpusSettings:
    """What the settings of all jobs over text have in common: `sources`, `filters` and `splits`, as in `JobConfig`."""

    if typing.TYPE_CHECKING:

        @property
        def sources(self) -> tuple[SourceConfig, ...]: ...  # noqa: D102
        @property
        def filters(self) -> FilterConfig: ...  # noqa: D102
        @property
        def splits(self) -> Mapping[str, float]: ...  # noqa: D102

    def filters_of(self, source: int) -> FilterConfig:
        """The filters of a source, by its index: the config's, and its own in place of those of the same name.

        Raises:
          ConfigError: they are impossible together.
        """
        own = self.sources[source]
        if not own.filters:
            return self.filters
        settings = to_dict(self.filters)
        for name, value in own.filters.items():
            nested = isinstance(value, Mapping) and isinstance(settings.get(name), dict)
            settings[name] = {**settings[name], **value} if nested else value
        try:
            return from_dict(FilterConfig, settings, "filters")
        except ConfigError as error:
            raise ConfigError(f"source {own.name}: {error}") from error

    def splits_of(self, source: int) -> Mapping[str, float]:
        """The held-out splits of a source, by its index, and their shares."""
        own = self.sources[source].splits
        return self.splits if own is None else own

    @property
    def split_names(self) -> tuple[str, ...]:
        """All held-out splits: the config's, then those that only a source names."""
        return tuple(dict.fromkeys([*self.splits, *(name for i in range(len(self.sources)) for name in self.splits_of(i))]))


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
    seed: int = 0
    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)

    def __post_init__(self) -> None:
        _require(bool(self.output), "output is empty: name the directory to write")
        _require(bool(self.sources), "sources is empty: name at least one")
        names = [source.name for source in self.sources]
        _require(len(set(names)) == len(names), f"sources.name must differ from source to source, got {names}")
        check_splits("splits", self.splits)
        for index in range(len(self.sources)):
            self.filters_of(index)
        if self.order.mode == "field":
            missing = [source.name for source in self.sources if source.order_field is None]
            _require(not missing, f"order.mode field needs sources.order_field, which {', '.join(missing)} does not have")
        left = [sum(self.splits_of(index).values()) for index in range(len(self.sources))]
        _require(min(left) < 1, f"splits take {min(left):.1%} of the documents and leave none to train on")
        _require(
            self.vocabulary.kind != "pass_through" or self.packing.sentences is None,
            "packing.sentences needs text, and vocabulary.kind pass_through reads token ids",
        )
        if self.vocabulary.offsets:
            changed = [source.name for i, source in enumerate(self.sources) if self.filters_of(i).lines != LineRules()]
            _require(
                not changed and self.duplicates.remove not in ("paragraphs", "lines"),
                "vocabulary.offsets counts the characters of the text as it was read, and filters.lines and duplicates.remove: paragraphs "
                "or lines take parts of it out: leave one of them out",
            )
        _require(isinstance(self.objective.get("name"), str), "objective.name is missing, for example causal_lm")
        _require(self.variants >= 1, f"variants must be at least 1, got {self.variants}")
        _require(
            self.variants == 1 or self.vocabulary.sampling is None,
            "vocabulary.sampling draws tokens before examples are laid out: set variants to 1, and build again with other seeds",
        )

    def semantics(self) -> dict[str, Any]:
        """The settings that decide the bytes of the dataset, as plain JSON values; without paths and without how the job runs."""
        settings: dict[str, Any] = to_dict(self)
        for name in ("output", "execution", "seed"):
            del settings[name]
        for source in settings["sources"]:
            del source["files"]
            source["filters"].pop("bad_words", None)
        del settings["filters"]["bad_words"]  # the digest of the input holds what the file says
        del settings["vocabulary"]["path"]  # the manifest holds the vocabulary's fingerprint
        settings["vocabulary"]["options"].pop("memo_bytes", None)
        if self.vocabulary.sampling is None:  # as before there was such a setting
            del settings["vocabulary"]["sampling"]
        del settings["shards"]["megabytes"]  # decides only the number of examples, which the shards tell
        if self.order.mode == "source" and self.packing.mode == "wrap":
            del settings["order"]["group_tokens"]
        return settings


def _require(condition: bool, message: str) -> None:
    """Raises a ConfigError with this message where the condition does not hold."""
    if not condition:
        raise ConfigError(message)


def _require_share(setting: str, share: float | None) -> None:
    """Refuses a share that does not lie between 0 and 1; None passes."""
    _require(share is None or 0 <= share <= 1, f"{setting} must lie between 0 and 1 (or 0% and 100%), got {share}")


def _check_pattern(setting: str, pattern: str | None) -> None:
    """Refuses what is no regular expression; None passes."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(f"{setting}: {pattern!r} is no regular expression ({error})") from error


def check_splits(where: str, splits: Mapping[str, float]) -> None:
    """Checks the names and shares of held-out splits.

    Raises:
      ConfigError: one is impossible; names it.
    """
    for name, fraction in splits.items():
        _require(re.fullmatch(r"[A-Za-z0-9_]+", name) is not None, f"{where}.{name}: a split's name holds letters, digits and underscores")
        _require(0 < fraction <= 1, f"{where}.{name} must lie between 0 and 1 (or 0% and 100%), got {fraction}")
    _require("train" not in splits, f"{where}.train is what the other splits leave: name only those")
    _require(sum(splits.values()) <= 1 + 1e-9, f"{where} take {sum(splits.values()):.1%} of the documents and leave none to train on")


def to_dict(config: Any) -> Any:
    """Turns settings into dicts and lists, ready for JSON or YAML."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_dict(value) for value in config]
    return config


def from_dict(kind: type[SettingsT], data: Any, where: str = "") -> SettingsT:
    """Makes settings of a dataclass from plain values.

    Raises:
      ConfigError: a key is unknown (with the nearest known one), missing, of the wrong type, or its value is impossible.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where or 'the config'} must be a mapping of settings, got {data!r}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
            raise ConfigError(f"unknown setting {_dotted(where, str(key))!r}: {hint}")
    for name, field in fields.items():
        if name not in data and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"the setting {_dotted(where, name)!r} is missing")
    return kind(**{key: _convert(hints[key], value, _dotted(where, key)) for key, value in data.items()})


def _dotted(where: str, key: str) -> str:
    """Names a setting below another, as in `packing.seq_len`."""
    return f"{where}.{key}" if where else key


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        return _convert(next((a for a in kinds if type(value) is a), kinds[0]), value, where)
    if origin is Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value
        raise ConfigError(f"{where} must be one of {', '.join(map(str, arguments))}, got {value!r}")
    if origin is tuple:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, Sequence):
            raise ConfigError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(values))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a mapping, got {value!r}")
        return {str(key): _convert(arguments[1], item, _dotted(where, str(key))) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast("type[Any]", hint), value, where)
    if hint is float:
        with contextlib.suppress(ValueError, OverflowError):  # 1.2.3 %, and whole numbers beyond the range of floats
            if isinstance(value, str) and re.fullmatch(r"[0-9.]+\s*%", value):
                return float(value.rstrip("% ")) / 100
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
    elif type(value) is hint:
        return value
    raise ConfigError(f"{where} must be {_article(hint.__name__)}, got {value!r}")


def _article(name: str) -> str:
    return {"int": "a whole number", "float": "a number or a percentage", "str": "text", "bool": "true or false"}.get(name, name)


def load(text: str, overrides: Sequence[str] = (), *, name: str = "config", **replacements: Any) -> JobConfig:
    """Reads the YAML config of a build: see `load_as`."""
    return load_as(JobConfig, text, overrides, name=name, **replacements)


def read(kind: type[SettingsT], path: str, overrides: Sequence[str] = (), **replacements: Any) -> SettingsT:
    """Reads a config file, local or `gs://`: see `load_as`.

    Raises:
      ConfigError: the file cannot be read, or as `load_as`.
    """
    try:
        text = files.read_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the config ({error})") from error
    return load_as(kind, text, overrides, name=path, **replacements)


def load_as(kind: type[SettingsT], text: str, overrides: Sequence[str] = (), *, name: str = "config", **replacements: Any) -> SettingsT:
    """Reads a YAML config.

    Args:
      kind: of settings: the dataclass to make.
      text: YAML.
      overrides: "packing.seq_len=1024" and the like, in order; the value is YAML. "sources.0.format" reaches into a list.
      name: of the file, for errors.
      **replacements: whole top-level settings; None leaves what the text says. `input` replaces the files of the only source.

    Raises:
      ConfigError: the text is no YAML, or a setting is wrong.
    """
    data = _yaml(text, name)
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: must be a mapping of settings, got {data!r}")
    for override in overrides:
        path, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write it as name=value, for example packing.seq_len=1024")
        _assign(data, path.split("."), _yaml(value, f"--set {override}"), override)
    for key, value in replacements.items():
        if value is None:
            continue
        if key == "input":
            sources = data.setdefault("sources", [{}])
            if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
                raise ConfigError(
                    "--input replaces the files of the only source; this config has several, so use --set sources.0.files=[...]"
                )
            sources[0]["files"] = list(value)
        else:
            data[key] = value
    try:
        return from_dict(kind, data)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _yaml(text: str, where: str) -> Any:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _refuse_repeated_keys(loader, node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # the 13th month, numbers of thousands of digits, brackets in brackets
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where}: not YAML: {error}") from error


def _refuse_repeated_keys(loader: Any, root: Any, where: str) -> None:
    """Refuses a mapping, at any depth, that gives a key twice: YAML would silently keep one of the two.

    A key that a merge (`<<: *base`) brings may be given again, because that is what merges are for. If two mappings of one merge bring it,
    it must be given again: which of the two counts differs between releases of PyYAML. Keys are the same if they make the same setting:
    `2` and `"2"` do. A mapping that several aliases share is looked at once.

    Raises:
      ConfigError: names the key and both lines.
    """
    import yaml

    seen: set[int] = set()
    waiting = [(root, "")]
    while waiting:
        node, path = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        items = [(str(index), item) for index, item in enumerate(node.value)] if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for name, line, value in _named(loader, node):
                if name in lines:
                    way = "Write <<: [*first, *second] to merge both." if name == "<<" else "Leave one of them out."
                    raise ConfigError(_repeated(where, _dotted(path, name), lines[name], line, way))
                lines[name] = line
                items.append((name, value))
            merged: dict[str, int] = {}
            for name, line in (entry for part in _merged(loader, node) for entry in _keys(loader, part).items()):
                if name in merged and name not in lines:
                    raise ConfigError(
                        _repeated(where, _dotted(path, name), merged[name], line, "Give it beside the merge to say which counts.")
                    )
                merged[name] = line
        waiting += [(value, _dotted(path, name)) for name, value in reversed(items)]  # the next to be taken is the first in the text


def _repeated(where: str, name: str, first: int, second: int, way: str) -> str:
    return f"{where}: {name!r} is given in line {first} and again in line {second}, and one would silently replace the other. {way}"


def _named(loader: Any, node: Any) -> list[tuple[str, int, Any]]:
    """The entries of a YAML mapping whose keys are scalars: name, line and node of the value. The loader refuses other keys."""
    import yaml

    found = []
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            special = key.tag in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")  # << and =, which make no value
            name = key.value if special else str(loader.construct_object(key))
            found.append((name, key.start_mark.line + 1, value))
    return found


def _merged(loader: Any, node: Any) -> list[Any]:
    """The mappings that a YAML mapping merges."""
    import yaml

    values = [value for name, _, value in _named(loader, node) if name == "<<"]
    parts = [part for value in values for part in (value.value if isinstance(value, yaml.SequenceNode) else [value])]
    return [part for part in parts if isinstance(part, yaml.MappingNode)]


def _keys(loader: Any, node: Any) -> dict[str, int]:
    """The line of each key that a YAML mapping has, by itself or by what it merges."""
    lines = {name: line for part in _merged(loader, node) for name, line in _keys(loader, part).items()}
    return lines | {name: line for name, line, _ in _named(loader, node) if name != "<<"}


def _assign(data: Any, path: list[str], value: Any, override: str) -> None:
    for step, following in itertools.pairwise(path):
        if isinstance(data, list):
            data = _item(data, step, override)
        elif isinstance(data, dict):
            data = data.setdefault(step, [{}] if following == "0" else {})
        else:
            raise ConfigError(f"--set {override}: {step} is no group of settings")
    if isinstance(data, list):
        _item(data, path[-1], override)
        data[int(path[-1])] = value
    elif isinstance(data, dict):
        data[path[-1]] = value
    else:
        raise ConfigError(f"--set {override}: {path[-1]} lies inside a value that holds no settings")


def _item(data: list[Any], step: str, override: str) -> Any:
    if not step.isdigit() or int(step) >= len(data):
        raise ConfigError(f"--set {override}: {step!r} is no index of a list of {len(data)}")
    return data[int(step)]
