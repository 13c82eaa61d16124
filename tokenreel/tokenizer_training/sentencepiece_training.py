"""Trains SentencePiece on a sample, counts what goes into the trainer, and measures what came of it."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel import ragged
from tokenreel.errors import ConfigError
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.characters import CharacterVocabulary, normalize
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary
from tokenreel.wording import did_you_mean

# The trainer adds up floats thread by thread: another number of threads gives another unigram model, and its number is written into every
# model. The same number gives the same model on any machine, so it is fixed; this is the library's own choice.
_THREADS = 16
_MAX_SENTENCE_BYTES = 4192  # the library's own choice
_DEFAULTS: Mapping[str, Any] = {"num_threads": _THREADS, "max_sentence_length": _MAX_SENTENCE_BYTES, "minloglevel": 2}
_RESERVED = "▅".encode()  # stands for <unk> inside the trainer, which leaves out every line that holds it
_MISSING_SHOWN = 20
_PROBE = ["ab cd ef", "gh ij kl"]

# What the job itself decides.
_OURS = {
    "input": "give sources",
    "input_format": "give sources.format",
    "model_prefix": "give output",
    "model_writer": "give output",
    "sentence_iterator": "give sources",
    "sentence_reader": "give sources",
    "logstream": "the report tells what the trainer left out",
    "normalizer": "give normalization_rule_name or normalization_rule_tsv",
    "pretokenizer": "a function cannot be written into a config; pretokenization_delimiter can",
    "allow_inconsistent_pretokenization": "it belongs to pretokenizer, a function, which cannot be written into a config",
}

# For "did you mean": the library says itself what it does not know.
_KNOWN = """
model_type vocab_size character_coverage auto_character_coverage input_sentence_size shuffle_input_sentence seed_sentencepiece_size
shrinking_factor max_sentence_length num_threads num_sub_iterations max_sentencepiece_length split_by_unicode_script split_by_number
split_by_whitespace treat_whitespace_as_suffix allow_whitespace_only_pieces split_digits pretokenization_delimiter control_symbols
user_defined_symbols required_chars byte_fallback vocabulary_output_piece_score hard_vocab_limit use_all_vocab unk_id bos_id eos_id pad_id
unk_piece bos_piece eos_piece pad_piece unk_surface seed_sentencepieces_file train_extremely_large_corpus normalization_rule_name
normalization_rule_tsv denormalization_rule_tsv add_dummy_prefix remove_extra_whitespaces escape_whitespaces minloglevel
""".split()  # noqa: SIM905 - one a line would be a page


def check_options(options: Mapping[str, Any]) -> None:
    """Checks options of SentencePiece's trainer, by training on two lines: before a worker starts rather than after the sample is drawn.

    Raises:
      ConfigError: an option is unknown, set by the job itself, of the wrong type or impossible; names it.
    """
    for name, value in options.items():
        if name in _OURS:
            raise ConfigError(f"options.{name} is not for the config: {_OURS[name]}")
        items = value if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(item, (str, int, float)) for item in items):
            raise ConfigError(f"options.{name} must be text, a number, true or false, or a list of such, got {value!r}")
    if options.get("shuffle_input_sentence") and options.get("input_sentence_size"):
        raise ConfigError(
            "options.shuffle_input_sentence draws other sentences on every run. Leave it out: documents come in random order, so that the "
            "first options.input_sentence_size sentences are a random sample"
        )
    problem = _probe(options)
    if problem is None:
        return
    for name in options:  # which one?
        alone = _probe({name: options[name]})
        if alone == problem:  # another message is about what is missing beside it: pad_id: 0 needs another unk_id
            raise ConfigError(_explain(name, options[name], alone))
    raise ConfigError(f"options: SentencePiece does not take these together: {problem}")


def _probe(options: Mapping[str, Any]) -> str | None:
    """Says what the trainer has against some options, as far as it does not concern the size of the text."""
    small: dict[str, Any] = {"hard_vocab_limit": False, "use_all_vocab": False}
    if options.get("model_type", "unigram") in ("unigram", "bpe", "word"):
        small["model_type"] = "char"  # the one that any text is enough for
    for name in ("hard_vocab_limit", "use_all_vocab"):
        if not isinstance(options.get(name, False), bool):
            del small[name]
    try:
        _train(_PROBE, {"vocab_size": 8000, **options, **small})
    except (RuntimeError, ValueError, OSError) as error:
        return str(error)
    return None


def _explain(name: str, value: Any, message: str) -> str:
    """Writes what is wrong with an option, from the trainer's own message."""
    if "unknown field name" in message:
        hint = did_you_mean(name, _KNOWN)
        return f"options.{name}: SentencePiece's trainer has no such option" + (f"; {hint}" if hint else "")
    return f"options.{name}: SentencePiece's trainer does not take {value!r}: {message}"


def _train(lines: Iterable[bytes | str], options: Mapping[str, Any]) -> bytes:
    """Calls the trainer, and returns the model.

    Raises:
      RuntimeError, ValueError, OSError: the trainer refuses, in its own words.
    """
    import sentencepiece

    model = io.BytesIO()
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **{**_DEFAULTS, **given})
    return model.getvalue()


@dataclasses.dataclass
class TrainerInput:
    """What became of the sampled text on its way into the trainer. No line is left out without being counted.

    Attributes:
      lines: number of lines that the trainer learned from.
      bytes: bytes in them.
      cut_lines: number of lines longer than `max_sentence_length`, which were cut into several.
      reserved_characters: number of "▅", of which SentencePiece makes its own use; the text is cut there, and the characters are left out.
      null_characters: number of NUL characters, which no model can learn.
      lines_beyond_limit: number of lines left out for `input_sentence_size`.
    """

    lines: int = 0
    bytes: int = 0
    cut_lines: int = 0
    reserved_characters: int = 0
    null_characters: int = 0
    lines_beyond_limit: int = 0


def sentences(texts: Iterable[bytes], counts: TrainerInput, max_bytes: int = _MAX_SENTENCE_BYTES, limit: int = 0) -> Iterator[bytes]:
    r"""Cuts texts into the lines that the trainer takes, so that it leaves out none.

    The trainer itself would drop, and mention only in its log, every line over `max_bytes`: such a line is cut, if possible after a space.

    Args:
      texts: documents in UTF-8.
      counts: is added to.
      max_bytes: bytes of the longest line.
      limit: most lines; 0 for all.

    >>> counts = TrainerInput()
    >>> list(sentences([b"a b c\n\nd"], counts, max_bytes=4)), counts.cut_lines
    ([b'a b ', b'c', b'd'], 1)
    """
    for text in texts:
        counts.null_characters += text.count(b"\0")
        for line in text.splitlines():
            parts = line.split(_RESERVED)
            counts.reserved_characters += len(parts) - 1
            for part in parts:
                counts.cut_lines += len(part) > max_bytes
                for cut in _cut(part, max_bytes):
                    if limit and counts.lines == limit:
                        counts.lines_beyond_limit += 1
                        continue
                    counts.lines += 1
                    counts.bytes += len(cut)
                    yield cut


def _cut(line: bytes, max_bytes: int) -> Iterator[bytes]:
    """Cuts a line into lines of at most `max_bytes`: after a space, else between characters, else anywhere (a limit below 4 bytes)."""
    start = 0
    while len(line) - start > max_bytes:
        end = line.rfind(b" ", start, start + max_bytes) + 1
        if not end:
            end = start + max_bytes
            while end > start and line[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
            end = end if end > start else start + max_bytes
        yield line[start:end]
        start = end
    if start < len(line):
        yield line[start:]


def train_sentencepiece(texts: Iterable[bytes], options: Mapping[str, Any]) -> tuple[bytes, TrainerInput]:
    """Trains SentencePiece: the same texts in the same order, and the same options, give the same bytes.

    Args:
      texts: UTF-8 documents.
      options: settings of SentencePiece's trainer.

    Returns:
      the model, and what it was trained on.

    Raises:
      ConfigError: the trainer refuses, often because the vocabulary is larger than the text allows.
    """
    counts = TrainerInput()
    limit = int(options.get("input_sentence_size") or 0)
    lines = sentences(texts, counts, int(options.get("max_sentence_length", _MAX_SENTENCE_BYTES)), max(0, limit))
    try:
        return _train(lines, {"shuffle_input_sentence": False, **options}), counts
    except (RuntimeError, ValueError, OSError) as error:
        advice = "Take a smaller options.vocab_size or more text." if "ocabulary size" in str(error) else "Change options."
        if "all_chars_count" in str(error):
            advice = "The text holds nothing but white space: check sources and filters."
        reason = str(error).rstrip(". ")
        raise ConfigError(f"SentencePiece could not train on {counts.lines:,} lines, {counts.bytes:,} bytes: {reason}. {advice}") from error


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Counts how a vocabulary does on some text.

    Attributes:
      documents: number of documents in the text.
      bytes: number of its bytes in UTF-8.
      characters: number of its characters once the vocabulary has normalised it.
      tokens: number of tokens that it becomes.
      unknown_tokens: how many of these are <unk>.
      byte_tokens: how many of these are one byte of a character without a token.
      missing: the characters that have no token, neither alone nor with others, and how often each comes.
    """

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    byte_tokens: int = 0
    missing: Counter[str] = dataclasses.field(default_factory=Counter)

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def to_json(self) -> dict[str, Any]:
        """Gives the counts, and ratios for people; a ratio of nothing is 0."""
        missing = sorted(self.missing.items(), key=lambda item: (-item[1], item[0]))
        return {
            **{name: value for name, value in vars(self).items() if name != "missing"},
            "covered_characters": self.characters - self.missing.total(),
            "missing_characters": [list(item) for item in missing[:_MISSING_SHOWN]],
            "character_coverage": 1 - self.missing.total() / max(self.characters, 1),
            "unknown_rate": self.unknown_tokens / max(self.tokens, 1),
            "byte_fallback_rate": self.byte_tokens / max(self.tokens, 1),
            "tokens_per_byte": self.tokens / max(self.bytes, 1),
            "bytes_per_token": self.bytes / max(self.tokens, 1),
        }


def measure_coverage(vocabulary: Vocabulary, texts: Sequence[bytes]) -> Coverage:
    """Measures a vocabulary on some documents.

    Args:
      vocabulary: as builds use it.
      texts: UTF-8.
    """
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    tokens, per_text = vocabulary.encode_block(np.frombuffer(b"".join(texts), dtype=np.uint8), ragged.offsets_of(lengths))
    unknown, is_byte = tokens == vocabulary.unk_id, np.zeros(len(tokens), dtype=bool)
    characters = np.ones(vocabulary.vocab_size, dtype=np.int64)  # a token a character
    if isinstance(vocabulary, SentencePieceVocabulary):
        model = sentencepiece_model.parse(vocabulary.data or b"")
        characters = np.array([len(piece.decode("utf-8", "replace")) for piece in model.pieces], dtype=np.int64)
        is_byte = (model.types == sentencepiece_model.BYTE)[tokens]
    marks = unknown | is_byte
    suspects = np.diff(np.append(0, np.cumsum(marks))[ragged.offsets_of(per_text)])
    missing = _missing_characters(vocabulary, [texts[i] for i in np.flatnonzero(suspects).tolist()])
    return Coverage(
        documents=len(texts),
        bytes=int(lengths.sum()),
        characters=int(characters[tokens[~marks]].sum()) + missing.total(),
        tokens=len(tokens),
        unknown_tokens=int(unknown.sum()),
        byte_tokens=int(is_byte.sum()),
        missing=missing,
    )


def _missing_characters(vocabulary: Vocabulary, texts: Sequence[bytes]) -> Counter[str]:
    """Counts what <unk> and byte tokens stand for in documents that hold such."""
    missing: Counter[str] = Counter()
    if isinstance(vocabulary, CharacterVocabulary):
        for text in texts:
            pairs = zip(normalize(text.decode(), vocabulary.normalizer), vocabulary.encode(text.decode()), strict=True)
            missing.update(character for character, i in pairs if i == vocabulary.unk_id)
    elif texts:
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary.data)
        for text in texts:
            hidden = bytearray()
            for i, piece in zip(processor.encode(text, out_type=int), processor.encode(text, out_type=str), strict=True):
                if i == vocabulary.unk_id:  # neighbours are joined into one
                    missing.update(piece)
                elif processor.is_byte(i):
                    hidden.append(int(piece[3:5], 16))  # written <0xE4>
            missing.update(hidden.decode("utf-8", "replace"))
    return missing
