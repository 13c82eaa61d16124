"""Which documents are left out, and which of their lines: the rules of C4 and of MassiveText, each separate and counted.

Line rules change a document, the others then judge what is left of it. Sources of the rules:

- C4: Raffel et al. 2020, "Exploring the limits of transfer learning", section 2.2 (arXiv:1910.10683), and the code in TFDS, which adds
  details (the longest word of a line, ellipses, citation marks).
- MassiveText: Rae et al. 2021, "Scaling language models: Gopher", appendix A.1 (arXiv:2112.11446).

A rule that is not set costs nothing. Lengths are compared for a whole block at once. The other rules look at one document after the other:
for each MB of text 20 ms of CPU (lines), 50 (sentences), 150 (n-grams).
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.config.corpus import FilterConfig, LineRules, QualityRules
from tokenreel.curation.cleaned import CODES, Cleaned, replace_text
from tokenreel.curation.quality import ELLIPSES, WORD, quality_reasons
from tokenreel.curation.sentences import split as split_sentences
from tokenreel.errors import PATHS_BEGIN, ConfigError
from tokenreel.storage import files

VERSION = "filters-2"
_SPACES = (*range(0x09, 0x0E), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
_BEGINS_SPACE = np.zeros(256, dtype=bool)  # bytes with which white space (`str.isspace`) begins in UTF-8
_BEGINS_SPACE[[chr(point).encode()[0] for point in _SPACES]] = True
_LOOK = 64  # bytes


@dataclasses.dataclass(frozen=True)
class Rules:
    """The filters of a source, ready to be used on any worker.

    Attributes:
      config: the settings.
      bad_words: content of `config.bad_words`, in small letters.
    """

    config: FilterConfig = dataclasses.field(default_factory=FilterConfig)
    bad_words: tuple[str, ...] = ()

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies what the rules do: not where the list of bad words lies but what it holds."""
        return keys.digest(VERSION, str(dataclasses.replace(self.config, bad_words=None)), *self.bad_words)

    @functools.cached_property
    def reads_text(self) -> bool:
        """True where any rule asks for more than the lengths of documents."""
        lengths = ("min_characters", "max_characters", "min_tokens", "max_tokens")
        return dataclasses.replace(self.config, **{name: getattr(FilterConfig(), name) for name in lengths}) != FilterConfig()

    @functools.cached_property
    def _bad_single(self) -> frozenset[str]:
        return frozenset(word for word in self.bad_words if WORD.fullmatch(word))

    @functools.cached_property
    def _bad_phrases(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        others = (word for word in self.bad_words if not WORD.fullmatch(word))
        return tuple((phrase, re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)")) for phrase in others)

    def has_bad_word(self, text: str) -> bool:
        """Tells whether a text in small letters holds an entry of the list that no letter, digit or underscore adjoins."""
        if not self._bad_single.isdisjoint(WORD.findall(text)):
            return True
        return any(phrase in text and pattern.search(text) for phrase, pattern in self._bad_phrases)  # the plain search is much faster


def load_rules(config: FilterConfig) -> Rules:
    """Reads the list of bad words, if there is one.

    Raises:
      ConfigError: the list cannot be read, or is empty.
    """
    config = dataclasses.replace(config, scores=None)  # which select documents once they are tokenized
    if config.bad_words is None:
        return Rules(config)
    try:
        text = files.read_bytes(config.bad_words).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"filters.bad_words: cannot read {config.bad_words} ({error}). It holds one word or phrase a line. {PATHS_BEGIN}"
        ) from error
    words = tuple(sorted({line.strip().lower() for line in text.splitlines()} - {""}))
    if not words:
        raise ConfigError(f"filters.bad_words: {config.bad_words} is empty. It holds one word or phrase a line.")
    return Rules(config, words)


def clean(cleaned: Cleaned, rules: Rules) -> Cleaned:
    """Applies the rules that read text: takes lines out, and judges what is left.

    Args:
      cleaned: the documents; those that are to be left out already are passed over.
      rules: the rules of their source.

    Returns:
      The documents with the text that is left of them, and with the reasons of those that are left out.
    """
    if not rules.reads_text:
        return cleaned
    documents = cleaned.documents
    reasons, modified, lines = cleaned.reasons.copy(), cleaned.modified.copy(), Counter(cleaned.lines)
    removed = cleaned.characters
    data = documents.text.tobytes()
    texts: list[bytes] = []
    line_rules = rules.config.lines if rules.config.lines != LineRules() else None
    for i, (start, end) in enumerate(zip(documents.offsets[:-1].tolist(), documents.offsets[1:].tolist(), strict=True)):
        raw = data[start:end]
        if raw and not reasons[i] and (text := raw.decode()).strip():  # what is blank is left out by `judge_characters`
            if line_rules is not None:
                kept = clean_lines(text, line_rules, lines)
                if len(kept) != len(text):
                    removed += len(text) - len(kept)
                    text, raw, modified[i] = kept, kept.encode(), True
            reason = judge(text, rules) if line_rules is None or text.strip() else "no_line_left"
            reasons[i] = CODES[reason]
        texts.append(raw)
    if modified.any():
        documents = replace_text(documents, texts)
    return Cleaned(documents, reasons, modified, lines, removed)


def find_blank(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Finds the documents of white space alone, or of nothing.

    Args:
      text: [num_bytes] uint8 valid UTF-8, n documents end to end.
      offsets: [n + 1] int64 bounds of the documents in `text`.

    Returns:
      [n] bool.
    """
    blank: npt.NDArray[np.bool_] = offsets[:-1] == offsets[1:]
    full = np.flatnonzero(~blank)
    # Few documents begin with a byte that may begin white space, and few of those begin with much of it.
    for i in full[_BEGINS_SPACE[text[offsets[full]]]].tolist():
        start, end = int(offsets[i]), int(offsets[i + 1])
        begin = text[start : min(end, start + _LOOK)].tobytes().decode("utf-8", "ignore")
        blank[i] = not begin.strip() and not text[start:end].tobytes().decode().strip()
    return blank


def clean_lines(text: str, rules: LineRules, counts: Counter[str]) -> str:
    r"""Takes out the lines that a rule forbids; the others stay as they are.

    Args:
      text: the text of a document.
      rules: the rules for lines.
      counts: lines taken out, by reason; is added to.

    >>> counts = Counter()
    >>> rules = LineRules(end_marks=(".",), drop_phrases=("javascript",))
    >>> clean_lines("Home | About\nThis is a line.\nPlease enable JavaScript.", rules, counts)
    'This is a line.'
    >>> dict(counts)
    {'line_without_end_mark': 1, 'line_with_phrase': 1}
    """
    if rules.remove_pattern is not None:
        text = _compiled(rules.remove_pattern).sub("", text)
    drops_blank = bool(rules.end_marks) or rules.min_words > 0
    kept = []
    for line in text.split("\n"):
        stripped = line.strip()
        reason = _line_reason(stripped, rules) if stripped else None
        if reason is not None:
            counts[reason] += 1
        elif stripped or not drops_blank:
            kept.append(line)
    return "\n".join(kept)


def _line_reason(line: str, rules: LineRules) -> str | None:
    """Says why a line without white space at its ends is taken out; None if it stays. The cheapest rules come first."""
    longest = rules.max_word_length
    if longest is not None and len(line) > longest and any(len(word) > longest for word in line.split()):
        return "line_with_long_word"
    if rules.end_marks and (not line.endswith(rules.end_marks) or line.endswith(ELLIPSES)):
        return "line_without_end_mark"
    if rules.min_words and len(line.split()) < rules.min_words:
        return "line_with_few_words"
    if rules.drop_phrases:
        small = line.lower()
        if any(phrase in small for phrase in _small(rules.drop_phrases)):
            return "line_with_phrase"
    return None


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@functools.lru_cache(maxsize=256)
def _small(phrases: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(phrase.lower() for phrase in phrases)


def judge_characters(
    reasons: npt.NDArray[np.int64], characters: npt.NDArray[np.int64], blank: npt.NDArray[np.bool_], limits: FilterConfig
) -> npt.NDArray[np.int64]:
    """Leaves out the documents without text, and those with too few or too many characters.

    Args:
      reasons: [n] int64 places in `REASONS`, 0 for documents that stay so far; others keep their reason.
      characters: [n] int64 characters of each document.
      blank: [n] bool, true for documents of white space alone, as `find_blank` gives it.
      limits: `min_characters` and `max_characters`.

    Returns:
      [n] int64 new reasons.
    """
    most = limits.max_characters if limits.max_characters is not None else np.iinfo(np.int64).max
    judged = reasons.copy()
    for reason, broken in (
        ("empty", blank),
        ("too_few_characters", characters < limits.min_characters),
        ("too_many_characters", characters > most),
    ):
        judged[(judged == 0) & broken] = CODES[reason]
    return judged


def judge(text: str, rules: Rules) -> str:
    """Says why a document is left out: one of `REASONS`, "" if it stays. Of several rules that it breaks, the first in that list counts."""
    config = rules.config
    if config.keep_pattern is not None and not _compiled(config.keep_pattern).search(text):
        return "pattern_missing"
    if config.drop_pattern is not None and _compiled(config.drop_pattern).search(text):
        return "pattern_found"
    quality = config.quality if config.quality != QualityRules() else None
    words = text.split() if config.min_words or config.max_words is not None or quality is not None else []
    if len(words) < config.min_words:
        return "too_few_words"
    if config.max_words is not None and len(words) > config.max_words:
        return "too_many_words"
    if config.min_sentences and _count_sentences(text) < config.min_sentences:
        return "too_few_sentences"
    if config.drop_phrases or rules.bad_words:
        small = text.lower()
        if any(phrase in small for phrase in _small(config.drop_phrases)):
            return "phrase_found"
        if rules.bad_words and rules.has_bad_word(small):
            return "bad_word"
    return next(quality_reasons(text, words, quality), "") if quality is not None else ""


def _count_sentences(text: str) -> int:
    return sum(1 for line in text.split("\n") for sentence in split_sentences(line) if sentence.strip())
