"""Whole words and word spans, which are several words in a row, as units of masking.

A **fence** is a position that no unit reaches across: the beginning of a document, a special token, and what follows one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.objectives.base import Array, Bools, Ints, Words
from tokenreel.ragged import ranks


def word_starts(pieces: Sequence[str], style: Literal["sentencepiece", "wordpiece", "byte_bpe"]) -> Bools:
    """Tells from a vocabulary's pieces which begin a word.

    Args:
      pieces: the piece of each id.
      style: "sentencepiece" marks the space before a word with U+2581, "byte_bpe" (GPT-2) with U+0120, "wordpiece" (BERT) what goes on with
        `##`.

    Returns:
      bool [vocab_size], the `word_starts` of `MaskedLM`.

    Raises:
      ConfigError: the style is unknown.

    >>> word_starts(["the", "##re", "."], "wordpiece").tolist()
    [True, False, True]
    """
    one_of("style", style, ("sentencepiece", "wordpiece", "byte_bpe"))
    mark = {"sentencepiece": "\u2581", "wordpiece": "##", "byte_bpe": "\u0120"}[style]
    marked = np.array([piece.startswith(mark) for piece in pieces], np.bool_)
    return ~marked if style == "wordpiece" else marked


class WordMap:
    """Says where the words of [n, L] examples are.

    A word begins where `word_starts` says, at a document's beginning, and on both sides of an ineligible token (special, padding). So an
    ineligible token is a word of its own, and every position belongs to a word.

    Attributes:
      eligible: bool [n, L].
      index: int32 [n, L] number of the word that a position belongs to, in its row.
      begin: int32 [n, L + 2] first position of each word, L behind the last.
      start: bool [n, L] positions that begin a word.
    """

    def __init__(self, tokens: Array, eligible: Bools, starts: Bools | None, word_starts: Bools) -> None:
        """Finds the words.

        Args:
          tokens: [n, L] ids of any integer dtype.
          eligible: bool [n, L] the tokens that may be masked.
          starts: bool [n, L] where documents begin; None where each example is one document.
          word_starts: bool [vocab_size] the pieces that begin a word.
        """
        n, length = tokens.shape
        fence = fences(eligible, starts)
        self.eligible = eligible
        self.start = word_starts[tokens] | fence
        self.index = np.cumsum(self.start, axis=1, dtype=np.int32) - 1
        row, at = np.nonzero(self.start)
        rank = self.index[row, at]
        # Two columns more than there can be words: the end of word w is the begin of word w + 1, also for the last word and one behind it.
        self.begin = np.full((n, length + 2), length, np.int32)
        self.begin[row, rank] = at
        self._fence = fence

    @functools.cached_property
    def limit(self) -> npt.NDArray[np.int32]:
        """For each word, the word before which a span that begins with it must end: int32 [n, L + 1]."""
        n, length = self.start.shape
        last = np.full((n, length + 1), length + 1, np.int32)
        row, at = np.nonzero(self._fence)
        rank = self.index[row, at]
        last[row, rank] = rank
        last[np.arange(n), self.index[:, -1] + 1] = self.index[:, -1] + 1
        following = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]  # the first fenced word from each word on, itself included
        limit = np.full((n, length + 1), length + 1, np.int32)
        limit[:, :-1] = following[:, 1:]
        return limit


def fences(eligible: Bools, starts: Bools | None) -> Bools:
    """Marks the positions that no span reaches across: document beginnings, ineligible tokens, and what follows one.

    Args:
      eligible: bool [n, L] the tokens that may be masked.
      starts: bool [n, L] where documents begin; None where each example is one document.

    Returns:
      bool [n, L].
    """
    fence = ~eligible
    fence[:, 1:] |= ~eligible[:, :-1]
    if starts is not None:
        fence |= starts
    fence[:, 0] = True
    return fence


def take_whole_words(found: WordMap, words: Words, counts: Ints) -> Bools:
    """Takes words in random order while they fit, skipping those that would exceed the count (BERT).

    Args:
      found: the words of the examples.
      words: uint64 [n, L] random words that order the candidates.
      counts: int64 [n] the most tokens to take in each example.

    Returns:
      bool [n, L] the tokens taken.
    """
    n, length = found.start.shape
    candidates = found.start & found.eligible
    order = keys.shuffled(words, candidates)
    order = order[:, : max(1, int(np.count_nonzero(candidates, axis=1).max(initial=0)))]
    row = np.arange(n)[:, None]
    inside = order < length
    at = np.minimum(order, length - 1)
    word = found.index[row, at]
    sizes = np.where(inside, found.begin[row, word + 1] - at, 0)
    # Up to the first word that does not fit, a running sum decides for all rows at once. Behind it only some words fit, and each that is
    # taken leaves less room for the next: these are looked for one by one, in the few rows that still have room.
    taken = (np.cumsum(sizes, axis=1) <= counts[:, None]) & inside
    left = counts - np.where(taken, sizes, 0).sum(axis=1)
    reached = taken.sum(axis=1)
    active = np.flatnonzero((left > 0) & (reached < inside.sum(axis=1)))
    while len(active):
        fits = (sizes[active] <= left[active, None]) & (np.arange(order.shape[1]) > reached[active, None]) & inside[active]
        following = fits.argmax(axis=1)
        some = fits[np.arange(len(active)), following]
        active, following = active[some], following[some]
        taken[active, following] = True
        left[active] -= sizes[active, following]
        reached[active] = following
        active = active[left[active] > 0]
    row_of, slot = np.nonzero(taken)
    selected_words = np.zeros(found.begin.shape, np.bool_)
    selected_words[row_of, word[row_of, slot]] = True
    result: Bools = np.take_along_axis(selected_words, found.index.astype(np.int64), axis=1)
    return result


def take_word_spans(found: WordMap, words: Words, counts: Ints, length_at: Callable[[Ints, Ints], Ints], *, whole: bool) -> Bools:
    """Takes word spans around random anchors until the count is reached.

    Anchors are visited in random order; one that is masked already is passed over, which draws uniformly from those that are left. A span
    begins with the anchor's word and ends at the latest before a fence.

    Args:
      found: the words of the examples.
      words: uint64 [n, L] random words that order the anchors.
      counts: int64 [n] tokens to take in each example.
      length_at: gives the words in the spans of the anchors at int64 [k] rows and int64 [k] positions: int64 [k].
      whole: anchors are words, spans end before a masked word and before they would exceed the count (n-grams). Otherwise anchors are
        tokens, spans go over masked words, and the last is cut at the count (SpanBERT).

    Returns:
      bool [n, L] the tokens taken.
    """
    n, length = found.start.shape
    order = keys.shuffled(words, found.start & found.eligible if whole else found.eligible)
    selected = np.zeros(n * length, np.bool_)
    left = counts.astype(np.int64).copy()
    active = np.flatnonzero(left > 0)
    # A span depends on those before it in its example, so anchors are placed one after the other: one of every example at a time.
    for step in range(length):
        anchor = order[active, step].astype(np.int64)
        going = anchor < length
        active, anchor = active[going], anchor[going]
        if not len(active):
            break
        free = ~selected[active * length + anchor]
        row, at = active[free], anchor[free]
        word = found.index[row, at].astype(np.int64)
        begin = found.begin[row, word].astype(np.int64)
        lengths = length_at(row, at)
        if whole:
            end = _end_of_whole(found, selected, row, word, lengths, left[row])
        else:
            end = found.begin[row, np.minimum(word + lengths, found.limit[row, word])].astype(np.int64)
        size = end - begin
        inside = np.repeat(row * length + begin, size) + ranks(size)
        new = ~selected[inside]
        if not whole:  # the first `left` of each span
            taken_before = np.cumsum(new) - new
            new &= taken_before - np.repeat(taken_before[np.cumsum(size) - size], size) < np.repeat(left[row], size)
        selected[inside[new]] = True
        left[row] -= np.bincount(np.repeat(np.arange(len(row)), size), weights=new, minlength=len(row)).astype(np.int64)
        active = active[left[active] > 0]
    return selected.reshape(n, length)


def _end_of_whole(found: WordMap, selected: Bools, row: Ints, word: Ints, lengths: Ints, left: Ints) -> Ints:
    """Finds where spans end that take whole words only: before a fence, a masked word, or one that would exceed the count.

    Args:
      found: the words of the examples.
      selected: bool [n * L] the tokens taken so far, examples end to end.
      row: int64 [k] the example of each span.
      word: int64 [k] its first word.
      lengths: int64 [k] the words that it may have.
      left: int64 [k] the tokens that it may have.

    Returns:
      int64 [k] the position behind the last of each span.
    """
    length = found.start.shape[1]
    begin = found.begin[row, word].astype(np.int64)
    end = begin.copy()
    growing = np.ones(len(row), np.bool_)
    for more in range(int(lengths.max(initial=0))):
        following = found.begin[row, np.minimum(word + more + 1, length + 1)]
        at_word = np.minimum(end, length - 1)
        growing &= (more < lengths) & (word + more < found.limit[row, word])
        growing &= (following - begin <= left) & ~selected[row * length + at_word]
        end = np.where(growing, following, end)
    return end


def positions_of(selected: Bools) -> Array:
    """Turns bool [n, L] into the positions that are true: int32 [n, most], ascending, filled up with L."""
    n, length = selected.shape
    counts = np.count_nonzero(selected, axis=1)
    out = np.full((n, int(counts.max(initial=0))), length, np.int32)
    row, at = np.nonzero(selected)
    out[row, ranks(counts)] = at
    return out


def span_bounds(row: Ints, at: Ints, opening: Bools | None = None) -> tuple[Ints, Ints]:
    """Finds the span of neighbouring positions that each position belongs to.

    Args:
      row: int [k] the example of each position, ascending.
      at: int [k] the positions, ascending within an example.
      opening: bool [k], true where a span begins even behind a neighbour.

    Returns:
      int64 [k] the first position of the span, and int64 [k] the position behind its last.
    """
    if not len(at):
        return at.astype(np.int64), at.astype(np.int64)
    opens = np.append(True, (row[1:] != row[:-1]) | (at[1:] != at[:-1] + 1))
    if opening is not None:
        opens |= opening
    heads = np.flatnonzero(opens)
    span = np.cumsum(opens) - 1
    tails = np.append(heads[1:], len(at)) - 1
    return at[heads].astype(np.int64)[span], at[tails].astype(np.int64)[span] + 1


def one_over_n(limit: int) -> list[Fraction]:
    """Weighs spans of 1 to `limit` words in proportion to 1/n (ALBERT)."""
    return [Fraction(1, n) for n in range(1, limit + 1)]


def geometric(p: float, limit: int) -> list[Fraction]:
    """Weighs spans of 1 to `limit` words by p * (1 - p)**(n - 1), in fractions, so that no platform rounds them otherwise (SpanBERT)."""
    exact = Fraction(repr(float(p)))
    return [exact * (1 - exact) ** (n - 1) for n in range(1, limit + 1)]


def one_of(name: str, value: str, known: Sequence[str]) -> None:
    """Refuses a setting of the objective that is none of the known values.

    Raises:
      ConfigError: names the setting and the known values.
    """
    if value not in known:
        raise ConfigError(f"objective.{name} must be one of {', '.join(known)}, got {value!r}")
