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
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.corpus import FilterConfig, LineRules, QualityRules
from tokenreel.errors import ConfigError
from tokenreel.sentences import split as split_sentences
from tokenreel.sources.documents import Documents
from tokenreel.storage import files

VERSION = "filters-1"
# Why a document is left out; arrays hold the place in this list, 0 for documents that stay.
REASONS = (
    "",
    "empty",
    "too_few_characters",
    "too_many_characters",
    "too_few_tokens",
    "too_many_tokens",
    "no_line_left",
    "duplicate_text",
    "pattern_missing",
    "pattern_found",
    "too_few_words",
    "too_many_words",
    "too_few_sentences",
    "phrase_found",
    "bad_word",
    "short_words",
    "long_words",
    "symbols",
    "digits",
    "bullet_lines",
    "ellipsis_lines",
    "words_without_letter",
    "too_few_stop_words",
    "repeated_lines",
    "repeated_paragraphs",
    "frequent_ngram",
    "repeated_ngrams",
)
CODES = {reason: code for code, reason in enumerate(REASONS)}
_ELLIPSES = ("...", "…")
_BULLETS = ("-", "*", "•", "‣", "●", "◦", "·")
_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))  # Rae et al. 2021, A.1.1
_PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
_WORD = re.compile(r"\w+")
_DIGIT = re.compile(r"\d")
_WORD_WITH_LETTER = re.compile(r"[^\W\d_]\S*")


@dataclasses.dataclass
class Cleaned:
    """The documents of a part, with what was taken out of them and which of them are to be left out.

    Attributes:
      documents: [n] the same documents, their text as the rules left it.
      reasons: [n] int64 place in `REASONS`.
      modified: [n] bool: whether something was taken out of them.
      lines: lines and paragraphs taken out, by reason.
      characters: taken out with them.
    """

    documents: Documents
    reasons: npt.NDArray[np.int64]
    modified: npt.NDArray[np.bool_]
    lines: Counter[str]
    characters: int

    @classmethod
    def of(cls, documents: Documents) -> Cleaned:
        """Documents as they were read."""
        return cls(documents, np.zeros(len(documents), dtype=np.int64), np.zeros(len(documents), dtype=bool), Counter(), 0)

    def left_out(self) -> dict[str, int]:
        """How many documents are left out, by reason."""
        counts = np.bincount(self.reasons, minlength=len(REASONS))
        return {name: int(count) for name, count in zip(REASONS[1:], counts[1:], strict=True) if count}


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
        """Whether any rule asks for more than the lengths of documents."""
        lengths = ("min_characters", "max_characters", "min_tokens", "max_tokens")
        return dataclasses.replace(self.config, **{name: getattr(FilterConfig(), name) for name in lengths}) != FilterConfig()

    @functools.cached_property
    def _bad_single(self) -> frozenset[str]:
        return frozenset(word for word in self.bad_words if _WORD.fullmatch(word))

    @functools.cached_property
    def _bad_phrases(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        others = (word for word in self.bad_words if not _WORD.fullmatch(word))
        return tuple((phrase, re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)")) for phrase in others)

    def has_bad_word(self, text: str) -> bool:
        """Whether a text in small letters holds an entry of the list that no letter, digit or underscore adjoins."""
        if not self._bad_single.isdisjoint(_WORD.findall(text)):
            return True
        return any(phrase in text and pattern.search(text) for phrase, pattern in self._bad_phrases)  # the plain search is much faster


def load_rules(config: FilterConfig) -> Rules:
    """Reads the list of bad words, if there is one.

    Raises:
      ConfigError: it cannot be read, or is empty.
    """
    if config.bad_words is None:
        return Rules(config)
    try:
        text = files.read_bytes(config.bad_words).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"filters.bad_words: cannot read {config.bad_words} ({error}). It holds one word or phrase a line.") from error
    words = tuple(sorted({line.strip().lower() for line in text.splitlines()} - {""}))
    if not words:
        raise ConfigError(f"filters.bad_words: {config.bad_words} is empty. It holds one word or phrase a line.")
    return Rules(config, words)


def clean(cleaned: Cleaned, rules: Rules) -> Cleaned:
    """Applies the rules that read text: takes lines out, and judges what is left.

    Args:
      cleaned: the documents; those that are to be left out already are passed over.
      rules: of their source.
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
        if raw and not reasons[i]:
            text = raw.decode()
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


def replace_text(documents: Documents, texts: Sequence[bytes]) -> Documents:
    """The same documents with other texts."""
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return dataclasses.replace(documents, text=np.frombuffer(b"".join(texts), dtype=np.uint8), offsets=ragged.offsets_of(sizes))


def clean_lines(text: str, rules: LineRules, counts: Counter[str]) -> str:
    r"""Takes out the lines that a rule forbids; the others stay as they are.

    Args:
      text: of a document.
      rules: for lines.
      counts: of lines taken out by reason; is added to.

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
    longest = rules.max_word_length
    if longest is not None and len(line) > longest and any(len(word) > longest for word in line.split()):
        return "line_with_long_word"
    if rules.end_marks and (not line.endswith(rules.end_marks) or line.endswith(_ELLIPSES)):
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
    return next(_quality_reasons(text, words, quality), "") if quality is not None else ""


def _count_sentences(text: str) -> int:
    return sum(1 for line in text.split("\n") for sentence in split_sentences(line) if sentence.strip())


def _quality_reasons(text: str, words: Sequence[str], rules: QualityRules) -> Iterator[str]:
    """Yields the rules of MassiveText (Rae et al. 2021, A.1.1) that a text breaks, as `REASONS` orders them.

    A text without words breaks none. Whoever takes only the first reason pays for no rule behind it.
    """
    if not words:
        return
    yield from _broken_character_rules(text, words, rules)
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    yield from _broken_line_rules(lines, rules)
    yield from _broken_word_rules(text, words, rules)
    yield from _broken_repetition_rules(text, lines, words, rules)


def _broken_character_rules(text: str, words: Sequence[str], rules: QualityRules) -> Iterator[str]:
    """Compares the letters, symbols and digits of a text with the number of its words and letters."""
    count, letters = len(words), sum(map(len, words))
    if rules.min_mean_word_length is not None and letters < rules.min_mean_word_length * count:
        yield "short_words"
    if rules.max_mean_word_length is not None and letters > rules.max_mean_word_length * count:
        yield "long_words"
    if rules.max_symbols_per_word is not None:
        symbols = max(text.count("#"), text.count("...") + text.count("…"))
        if symbols > rules.max_symbols_per_word * count:
            yield "symbols"
    if rules.max_digits is not None and len(_DIGIT.findall(text)) > rules.max_digits * letters:
        yield "digits"


def _broken_line_rules(lines: Sequence[str], rules: QualityRules) -> Iterator[str]:
    """Compares the lines that begin as an item of a list, or end as an excerpt does, with the number of lines."""
    if rules.max_bullet_lines is not None and sum(line.startswith(_BULLETS) for line in lines) > rules.max_bullet_lines * len(lines):
        yield "bullet_lines"
    if rules.max_ellipsis_lines is not None and sum(line.endswith(_ELLIPSES) for line in lines) > rules.max_ellipsis_lines * len(lines):
        yield "ellipsis_lines"


def _broken_word_rules(text: str, words: Sequence[str], rules: QualityRules) -> Iterator[str]:
    """Counts the words that prose is made of: those with a letter, and the commonest of English."""
    if rules.min_words_with_letter is not None and len(_WORD_WITH_LETTER.findall(text)) < rules.min_words_with_letter * len(words):
        yield "words_without_letter"
    if rules.min_stop_words and len(_STOP_WORDS.intersection(_WORD.findall(text.lower()))) < rules.min_stop_words:
        yield "too_few_stop_words"


def _broken_repetition_rules(text: str, lines: Sequence[str], words: Sequence[str], rules: QualityRules) -> Iterator[str]:
    """Looks for lines, paragraphs and runs of words that come again."""
    if _repeats(lines, rules.max_repeated_lines, rules.max_repeated_line_characters):
        yield "repeated_lines"
    if rules.max_repeated_paragraphs is not None or rules.max_repeated_paragraph_characters is not None:
        paragraphs = [part for part in map(str.strip, _PARAGRAPH_BREAK.split(text)) if part]
        if _repeats(paragraphs, rules.max_repeated_paragraphs, rules.max_repeated_paragraph_characters):
            yield "repeated_paragraphs"
    if _exceeds(words, rules.max_top_ngram, top_ngram_share):
        yield "frequent_ngram"
    if _exceeds(words, rules.max_repeated_ngrams, repeated_ngram_share):
        yield "repeated_ngrams"


def _exceeds(words: Sequence[str], limits: Mapping[str, float], share: Callable[[Sequence[str], int], float]) -> bool:
    """Whether a share is above its limit for any n. Where no n words in a row occur twice, no longer ones do, and that ends the search."""
    for n, limit in sorted((int(n), limit) for n, limit in limits.items()):
        found = share(words, n)
        if found > limit:
            return True
        if not found:
            return False
    return False


def _repeats(parts: Sequence[str], share: float | None, share_of_characters: float | None) -> bool:
    """Whether too many parts, or too many characters in them, stood in the text before."""
    if share is None and share_of_characters is None:
        return False
    seen: set[str] = set()
    repeated = characters = 0
    for part in parts if len(set(parts)) < len(parts) else ():
        if part in seen:
            repeated += 1
            characters += len(part)
        seen.add(part)
    if share is not None and repeated > share * len(parts):
        return True
    return share_of_characters is not None and characters > share_of_characters * sum(map(len, parts))


def top_ngram_share(words: Sequence[str], n: int) -> float:
    """The share of the characters of the words that the most frequent n words in a row cover; 0 if none occurs twice.

    >>> top_ngram_share("a b a b c".split(), 2)
    0.8
    """
    counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    most = max(counts.values(), default=0)
    if most < 2:
        return 0.0
    longest = max(sum(map(len, ngram)) for ngram, count in counts.items() if count == most)  # of several as frequent
    return longest * most / sum(map(len, words))


def repeated_ngram_share(words: Sequence[str], n: int) -> float:
    """The share of the characters of the words that lie in n words in a row which stood in the text before; none is counted twice.

    >>> repeated_ngram_share("a b c a b c d e".split(), 3)
    0.375
    """
    seen: set[tuple[str, ...]] = set()
    covered = end = 0  # words before `end` are counted
    for i, ngram in enumerate(zip(*(words[j:] for j in range(n)), strict=False)):
        if ngram in seen:
            covered += sum(map(len, words[max(i, end) : i + n]))
            end = i + n
        seen.add(ngram)
    return covered / sum(map(len, words)) if words else 0.0


def summed(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Adds counts by reason."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))
