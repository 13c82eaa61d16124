"""The quality rules of MassiveText (Rae et al. 2021, arXiv:2112.11446): words, symbols, stop words, repetition."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from tokenreel.config.corpus import QualityRules

ELLIPSES = ("...", "…")
_BULLETS = ("-", "*", "•", "‣", "●", "◦", "·")
_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))  # Rae et al. 2021, A.1.1
_PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
WORD = re.compile(r"\w+")
_DIGIT = re.compile(r"\d")
_WORD_WITH_LETTER = re.compile(r"[^\W\d_]\S*")


def quality_reasons(text: str, words: Sequence[str], rules: QualityRules) -> Iterator[str]:
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
    if rules.max_ellipsis_lines is not None and sum(line.endswith(ELLIPSES) for line in lines) > rules.max_ellipsis_lines * len(lines):
        yield "ellipsis_lines"


def _broken_word_rules(text: str, words: Sequence[str], rules: QualityRules) -> Iterator[str]:
    """Counts the words that prose is made of: those with a letter, and the commonest of English."""
    if rules.min_words_with_letter is not None and len(_WORD_WITH_LETTER.findall(text)) < rules.min_words_with_letter * len(words):
        yield "words_without_letter"
    if rules.min_stop_words and len(_STOP_WORDS.intersection(WORD.findall(text.lower()))) < rules.min_stop_words:
        yield "too_few_stop_words"


def _broken_repetition_rules(text: str, lines: Sequence[str], words: Sequence[str], rules: QualityRules) -> Iterator[str]:
    """Looks for lines, paragraphs and sequences of words that come again."""
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
    """Tells whether a share is above its limit for any n. Where no n words in a row occur twice, no more words do: that ends the search."""
    for n, limit in sorted((int(n), limit) for n, limit in limits.items()):
        found = share(words, n)
        if found > limit:
            return True
        if not found:
            return False
    return False


def _repeats(parts: Sequence[str], share: float | None, share_of_characters: float | None) -> bool:
    """Tells whether too many parts, or too many characters in them, stood in the text before."""
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
    """Measures which share of the characters of the words the most frequent n words in a row cover; 0 if none occurs twice.

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
    """Measures which share of the characters of the words lies in n words in a row that stood in the text before; none counts twice.

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
