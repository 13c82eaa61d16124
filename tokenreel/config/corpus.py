"""The settings of a corpus, which builds and tokenizer training share: sources, filters, duplicates, workers."""

from __future__ import annotations

import codecs
import dataclasses
import functools
import re
import string
import typing
from collections.abc import Mapping
from typing import Any, Literal

from tokenreel.config.parsing import check_pattern, from_dict, require, require_share, to_dict
from tokenreel.config.scores import ScoreConfig
from tokenreel.errors import ConfigError
from tokenreel.format import labels

MAX_EPOCHS = 1000
TEXT_FORMATS = ("jsonl", "json", "csv", "tsv", "lines", "paragraphs", "text")  # files of characters
FIELDLESS_FORMATS = ("lines", "paragraphs", "text")  # of those, what is text and nothing else


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
    r"""One body of text.

    Attributes:
      files: paths, globs (`**` crosses directories) or directories, local or `gs://`; `@list.txt` for a file with one of these on each
        line, relative to it, and comments behind `#`. Relative ones begin in the folder of the config. A document's identity is its path
        relative to the directory that all of them share, so a corpus can move without changing any dataset made from it.
      name: says in statistics and provenance where a document came from.
      format: `jsonl` (a JSON object a line), `json` (an array of objects, or objects over several lines), `csv`, `tsv`, `parquet`, `arrow`
        (streams and files; folders of Hugging Face `datasets`), `tfrecord` (of `tf.train.Example`) or `tfds` (folders of prepared
        TensorFlow Datasets), whose records have fields; `warc` (WARC and WET), whose fields are `url`, `date`, `language` and `record_id`;
        `lines`, `paragraphs` (separated by blank lines) or `text` (the whole file) for plain text. All but tables may lie in tar and zip
        archives: the format is that of their members, whose names are `archive.tar#member`.
      text_field: holds the document. A field is a key of JSON or a column; `a.b` is a value inside of `a`, unless one is called `a.b`.
      text: a template in place of a field, such as `"{title}\n\n{body}"`; `{{` and `}}` stand for braces.
      joiner: what stands between the strings where the text is a list of them.
      messages_field: holds a chat in place of text: a list of objects with `role` and `content`, or `from` and `value`. It is rendered
        plainly, `role: content` with blank lines between messages, and not as any model's training template has it.
      id_field: names the document; without it the name is `path#position`. Two documents of one name keep one split. Of warc it is `url`
        unless it is set.
      metadata_fields: kept in the provenance tables. Of warc they are `date` and `language` unless they are set.
      label_fields: fields that hold the class of a document, with the names of the classes: `{topic: [World, Sports]}`. Examples hold its
        number as `label_topic`, -1 where a document has none; each example has to be of one document (`packing.mode` `pad`,
        `wrap_within_document` or `buckets`, or `max_segments: 1`). The field is kept as those of `metadata_fields` are.
      entity_fields: likewise, fields that hold ranges of characters with a class: `{entities: [PER, ORG]}` for a list of
        `{"start": 0, "end": 5, "label": "PER"}`, or `[0, 5, "PER"]`. Examples hold a number for each token (`tokenreel.format.labels`).
        Needs `vocabulary.offsets`.
      order_field: a number or a text (of which 8 bytes count) to sort by, for `order.mode: field`.
      records: of json, the field of the outermost object that holds the array of records, such as `data` in `{"data": [...]}`; `a.b` is the
        field `b` of an object in the field `a`.
      columns: of csv and tsv, their names where the first row does not tell them.
      delimiter: of csv and tsv, the one character between values; a comma and a tab.
      quoting: of csv and tsv, whether values may stand in `quotes`, or `none` does, and a quote is a character like any other.
      escape: of csv and tsv, the character that makes the next quote, or without quotes the next delimiter or line end, part of the value:
        a backslash in files of Spark and of databases. By default quotes are doubled.
      escape_unquoted: of csv and tsv, whether `escape` counts outside of quotes too, as Python's `csv` and pandas write it.
      embedded_newlines: of csv and tsv, whether values may hold line ends. False lets large files be split among workers.
      encoding: of text formats, how characters are stored, such as `utf-16` or `cp1252`, by Python's names. Files in another encoding than
        UTF-8 are not split, and positions in them are those in their UTF-8 form.
      split: which split to read: of tfds and Hugging Face folders by their index, of other files by their names (`train-00000-of-00004`,
        `test/`).
      filters: settings that replace those of the same name in the config's `filters`, for this source alone.
      splits: in place of the config's `splits`, for this source alone: `{validation: 100%}` holds all of it out, `{}` nothing.
      epochs: how often the training split holds each document: 10% takes a tenth of the documents, 2.5 all of them twice and half of them
        a third time. Which ones is a hash of their names, so a smaller share is part of a larger one. Held-out splits repeat nothing.
        Repeats of a document lie far from each other.
      max_document_mb: a document that takes more of its file than this (markup of the format included) goes to the dead letters as
        `oversized`, so that no archive and no endless line exhausts a worker; one of this size takes about 10 times as much memory.
      dead_letters_kept: of what cannot be read, so many are listed for each reason, the first ones in the text; the others are counted. A
        million take about 200 MB.
    """

    files: tuple[str, ...]
    name: str = "text"
    format: Literal["jsonl", "json", "csv", "tsv", "parquet", "arrow", "tfrecord", "tfds", "warc", "lines", "paragraphs", "text"] = "jsonl"
    text_field: str = "text"
    text: str | None = None
    joiner: str | None = None
    messages_field: str | None = None
    id_field: str | None = None
    metadata_fields: tuple[str, ...] = ()
    order_field: str | None = None
    label_fields: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    entity_fields: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    records: str | None = None
    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    quoting: Literal["quotes", "none"] = "quotes"
    escape: str | None = None
    escape_unquoted: bool = False
    embedded_newlines: bool = True
    encoding: str = "utf-8"
    split: str | None = None
    filters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, float] | None = None
    epochs: float = 1.0
    max_document_mb: float = 64.0
    dead_letters_kept: int = 1000

    def __post_init__(self) -> None:
        require(self.dead_letters_kept >= 1, f"sources.dead_letters_kept must be at least 1, got {self.dead_letters_kept}")
        if self.format == "warc":
            object.__setattr__(self, "id_field", self.id_field or "url")
            object.__setattr__(self, "metadata_fields", self.metadata_fields or ("date", "language"))
        for setting in ("label_fields", "entity_fields"):
            for field, classes in getattr(self, setting).items():
                labels.check(setting, field, classes)
        kept = dict.fromkeys((*self.metadata_fields, *self.label_fields, *self.entity_fields))
        object.__setattr__(self, "metadata_fields", tuple(kept))  # they go wherever kept fields go
        require(0 < self.max_document_mb <= 1e9, f"sources.max_document_mb must be positive and at most 1e9, got {self.max_document_mb}")
        require(0 < self.epochs <= MAX_EPOCHS, f"sources.epochs must be positive and at most {MAX_EPOCHS}, got {self.epochs}")
        check_splits(f"source {self.name}: splits", self.splits or {})
        require(bool(self.files), "sources.files names no file: give paths, globs or directories")
        if self.format in FIELDLESS_FORMATS:
            for field in ("id_field", "order_field"):
                require(not getattr(self, field), f"sources.{field} needs format: jsonl or another with fields; {self.format} has none")
        require(self.records != "", "sources.records is empty: name the field that holds the records, or leave it out")
        require(self.records is None or self.format == "json", f"sources.records needs format: json, got {self.format}")
        self._check_text()
        self._check_dialect()
        self._check_encoding()
        require(self.split != "", "sources.split is empty: name a split, such as train, or leave it out")
        require(self.split is not None or self.format != "tfds", "sources.split is missing: tfds folders hold several, such as train")

    def _check_text(self) -> None:
        """Checks what a document's text is made of."""
        told = [name for name in ("text", "messages_field") if getattr(self, name) is not None]
        require(len(told) < 2 and (not told or self.text_field == "text"), "sources: give one of text_field, text and messages_field")
        require(self.joiner is None or self.messages_field is None, "sources.joiner joins strings, not the messages of a chat")
        for name in ("text", "joiner", "messages_field"):
            plain = getattr(self, name) is None or self.format not in ("warc", *FIELDLESS_FORMATS)
            require(plain, f"sources.{name} needs format: jsonl or another with fields; {self.format} has none")
        for name in ("joiner", "messages_field"):
            plain = getattr(self, name) is None or self.format not in ("csv", "tsv")
            require(plain, f"sources.{name} needs values that are lists; those of {self.format} are text")
        if self.text is not None:
            require(any(name is not None for _, name in self.template), f"sources.text names no field, such as {{body}}: {self.text!r}")

    def _check_dialect(self) -> None:
        """Checks the settings of csv and tsv."""
        if self.format not in ("csv", "tsv"):
            for field in ("columns", "delimiter", "quoting", "escape", "escape_unquoted", "embedded_newlines"):
                plain = getattr(self, field) == getattr(type(self), field)
                require(plain, f"sources.{field} needs format: csv or tsv, got {self.format}")
        one = self.delimiter is None or (len(self.delimiter) == 1 and self.delimiter not in '\0\r\n"')
        require(one, f"sources.delimiter is one character, and no quote or line end, got {self.delimiter!r}")
        one = self.escape is None or (len(self.escape) == 1 and self.escape not in '\0\r\n"' and self.escape != self.separator)
        quotes = " (doubled quotes need no setting)" if self.escape == '"' else ""
        require(one, f"sources.escape is one character, and no quote, delimiter or line end{quotes}, got {self.escape!r}")
        needed = not self.escape_unquoted or (self.escape is not None and self.quoting != "none")
        require(needed, "sources.escape_unquoted needs sources.escape, and values in quotes: without quotes it counts everywhere")
        if self.columns:
            for column in (name for name in (*self.text_fields, self.id_field, self.order_field) if name is not None):
                require(column in self.columns, f"sources.columns {list(self.columns)} lacks {column!r}")
            require(len(set(self.columns)) == len(self.columns), f"sources.columns must differ from each other, got {list(self.columns)}")

    @functools.cached_property
    def template(self) -> tuple[tuple[str, str | None], ...]:
        """`text` in pieces: literal text and None, or "" and the name of a field."""
        pieces: list[tuple[str, str | None]] = []
        try:
            for literal, name, form, conversion in string.Formatter().parse(self.text or ""):
                if name == "" or form or conversion:
                    raise ValueError("a field is a name in braces, and nothing else")
                pieces += [(literal, None)] * bool(literal) + [("", name)] * (name is not None)
        except ValueError as error:
            raise ConfigError(f"sources.text: {self.text!r} is no template ({error}); braces of the text itself are doubled") from error
        return tuple(pieces)

    @functools.cached_property
    def text_fields(self) -> tuple[str, ...]:
        """The fields that the text is made of."""
        if self.text is not None:
            return tuple(dict.fromkeys(name for _, name in self.template if name is not None))
        return (self.messages_field or self.text_field,)

    @functools.cached_property
    def plain_text_field(self) -> str | None:
        """The field that holds the text as it is; None where it is made of several values."""
        return self.text_field if self.text is None and self.joiner is None and self.messages_field is None else None

    @functools.cached_property
    def other_fields(self) -> tuple[str, ...]:
        """The fields that are read beside the text: what names a document, what sorts it, and what is kept of it."""
        return tuple(name for name in (self.id_field, self.order_field, *self.metadata_fields) if name is not None)

    def _check_encoding(self) -> None:
        try:
            "..".encode(self.encoding)  # no name of a host, which the codec for those takes for text
        except (LookupError, UnicodeError, ValueError) as error:
            raise ConfigError(
                f"sources.encoding: {self.encoding!r} is no encoding of text that Python knows, such as utf-8, utf-16, cp1252 or shift_jis"
            ) from error
        plain = self.text_encoding == "utf-8"
        require(plain or self.format in TEXT_FORMATS, f"sources.encoding needs a format of text, such as jsonl, got {self.format}")

    @property
    def text_encoding(self) -> str:
        """`encoding` by the name that Python gives it, whatever its spelling; a byte order mark makes no other of UTF-8."""
        return codecs.lookup(self.encoding).name.removesuffix("-sig")

    @property
    def separator(self) -> str:
        """The character between the values of csv and tsv: `delimiter`, or the usual one of the format."""
        return self.delimiter or ("\t" if self.format == "tsv" else ",")

    @property
    def rows_are_lines(self) -> bool:
        """True where every line of csv or tsv is a row, wherever reading begins."""
        return self.format in ("csv", "tsv") and (not self.embedded_newlines or (self.quoting == "none" and self.escape is None))

    @property
    def max_document_bytes(self) -> int:
        """`max_document_mb` in bytes."""
        return int(self.max_document_mb * (1 << 20))


_LATER_NAMES = ("text", "joiner", "messages_field", "records", "quoting", "escape", "escape_unquoted", "encoding", "dead_letters_kept")
_LATER = {field.name: field.default for field in dataclasses.fields(SourceConfig) if field.name in _LATER_NAMES}
_LATER |= {"label_fields": {}, "entity_fields": {}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineRules:
    r"""Which lines are taken out of documents, as C4 does; see `tokenreel.curation.filters`. None is, unless a rule is set.

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
        require(self.min_words >= 0, f"filters.lines.min_words must not be negative, got {self.min_words}")
        require(self.max_word_length is None or self.max_word_length >= 1, "filters.lines.max_word_length must be at least 1")
        require(all(self.end_marks), "filters.lines.end_marks holds an empty mark, in which every line ends")
        require(all(self.drop_phrases), "filters.lines.drop_phrases holds an empty phrase, which every line holds")
        check_pattern("filters.lines.remove_pattern", self.remove_pattern)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityRules:
    """Which documents do not read like text: the rules of MassiveText; see `tokenreel.curation.filters`. Shares lie between 0 and 1.

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
            require_share(f"filters.quality.{name}", getattr(self, name))
        for name in ("max_repeated_line_characters", "max_repeated_paragraphs", "max_repeated_paragraph_characters"):
            require_share(f"filters.quality.{name}", getattr(self, name))
        for name in ("max_top_ngram", "max_repeated_ngrams"):
            for n, share in getattr(self, name).items():
                require(n.isdigit() and int(n) >= 1, f"filters.quality.{name}: {n} is no number of words")
                require_share(f"filters.quality.{name}.{n}", share)
        require(0 <= self.min_stop_words <= 8, f"filters.quality.min_stop_words must lie between 0 and 8, got {self.min_stop_words}")


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
      scores: which documents are left out by scores that were given to them by name, when the others are selected.
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
    scores: ScoreConfig | None = dataclasses.field(default=None, repr=False)  # no rule of what is tokenized, so no part of its fingerprint

    def __post_init__(self) -> None:
        for unit, least in (("characters", 1), ("tokens", 1), ("words", 0)):
            low, high = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            require(low >= least, f"filters.min_{unit} must be at least {least}, got {low}")
            require(high is None or high >= low, f"filters.max_{unit} ({high}) is below filters.min_{unit} ({low}): nothing would be left")
        require(self.min_sentences >= 0, f"filters.min_sentences must not be negative, got {self.min_sentences}")
        require(all(self.drop_phrases), "filters.drop_phrases holds an empty phrase, which every document holds")
        check_pattern("filters.keep_pattern", self.keep_pattern)
        check_pattern("filters.drop_pattern", self.drop_pattern)


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
        require(self.min_characters >= 1, f"duplicates.min_characters must be at least 1, got {self.min_characters}")
        if self.remove not in ("paragraphs", "lines"):
            require(self.min_characters == 1, "duplicates.min_characters needs duplicates.remove: paragraphs or lines")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How the job runs. Nothing here changes a byte of the dataset.

    Attributes:
      block_mb: text in one unit of work. 16 suits one machine, 64 a cluster. A worker holds about 12 times as much.
      stage: directory of the tokenized blocks. By default inside the output and removed at the end; a directory given here is kept, and a
        later build of the same text with other packing, order or seed finds its tokens there; `tokenreel cache` lists and clears it.
      max_reads: reads of parts of stage files that assembling the shards may take. Shuffled or by a field, each group is read from every
        stage file; where that would be more, stage files are merged before; where even that is not enough, a build stops and says what
        would lower their number. In a bucket a million reads cost about half an hour of one worker.
      merge_files: where the order of documents would need more reads, so many stage files are merged at a time, as often as it takes. More
        mean fewer passes over all tokens, of smaller reads.
      max_dead_letter_fraction: the job fails if more than this of a source cannot be read, of its documents or of the bytes of its files.
      allow_leaks: go on where two sources share text, so that what one holds out may be in the training text of the other.
      allow_empty_files: go on where a source gives no document at all, or a file with records none that can be read.
      new_files: what becomes of files that arrive in a source after the job has listed it: `leave_out` goes on with those that were there,
        and names them in a list beside the output; `fail` stops.
      dead_letter_crashes: blocks over which a process died twice become dead letters as a whole, in place of ending the build again.
    """

    block_mb: float = 16.0
    stage: str | None = None
    max_reads: int = 20_000_000
    merge_files: int = 64
    max_dead_letter_fraction: float = 0.1
    allow_empty_files: bool = False
    allow_leaks: bool = False
    new_files: Literal["leave_out", "fail"] = "leave_out"
    dead_letter_crashes: bool = False

    def __post_init__(self) -> None:
        require(0 < self.block_mb <= 1e9, f"execution.block_mb must be positive and at most 1e9, got {self.block_mb}")
        require(self.max_reads >= 1, f"execution.max_reads must be at least 1, got {self.max_reads}")
        require(2 <= self.merge_files <= 4096, f"execution.merge_files must lie between 2 and 4,096, got {self.merge_files}")
        require(0 <= self.max_dead_letter_fraction <= 1, "execution.max_dead_letter_fraction lies between 0 and 1")

    @property
    def block_bytes(self) -> int:
        """`block_mb` in bytes."""
        return max(1, int(self.block_mb * (1 << 20)))


def source_semantics(settings: dict[str, Any]) -> dict[str, Any]:
    """Takes the settings of a source that decide bytes out of those of `to_dict`: no paths, and no later ones at their defaults.

    What came after the first datasets is left out where it is as it was before there was such a setting, so that identities stay.
    """
    kept = {name: value for name, value in settings.items() if name != "files" and (name not in _LATER or value != _LATER[name])}
    kept["filters"] = filter_semantics(settings["filters"])
    return kept


def filter_semantics(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Takes what decides bytes out of the settings of filters: no paths, of whose files the digest of the input tells."""
    kept = {name: value for name, value in settings.items() if name != "bad_words"}
    if isinstance(kept.get("scores"), Mapping):
        kept["scores"] = {name: value for name, value in kept["scores"].items() if name != "files"}
    elif "scores" in kept:  # as before there was such a setting
        del kept["scores"]
    return kept


class CorpusSettings:
    """What the settings of all jobs over text have in common: `sources`, `filters`, `splits` and `execution`, as in `JobConfig`."""

    if typing.TYPE_CHECKING:

        @property
        def sources(self) -> tuple[SourceConfig, ...]: ...  # noqa: D102
        @property
        def filters(self) -> FilterConfig: ...  # noqa: D102
        @property
        def splits(self) -> Mapping[str, float]: ...  # noqa: D102
        @property
        def execution(self) -> ExecutionConfig: ...  # noqa: D102

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


def check_splits(where: str, splits: Mapping[str, float]) -> None:
    """Checks the names and shares of held-out splits.

    Raises:
      ConfigError: one is impossible; names it.
    """
    for name, fraction in splits.items():
        require(re.fullmatch(r"[A-Za-z0-9_]+", name) is not None, f"{where}.{name}: a split's name holds letters, digits and underscores")
        require(0 < fraction <= 1, f"{where}.{name} must lie between 0 and 1 (or 0% and 100%), got {fraction}")
    require("train" not in splits, f"{where}.train is what the other splits leave: name only those")
    require(sum(splits.values()) <= 1 + 1e-9, f"{where} take {sum(splits.values()):.1%} of the documents and leave none to train on")
