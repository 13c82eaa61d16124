"""Pairs of text segments with a label: BERT's next-sentence prediction and ALBERT's sentence order.

Every choice is keyed by the document and the sentence it is made at, and the other document of a random pair is drawn from the documents
sorted by id. So neither the order in which documents come nor how they are spread over workers changes a pair; only the set of documents
(the planning group) does.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tokenreel import keys, rates
from tokenreel.errors import BuildError, ConfigError
from tokenreel.format.schema import token_dtype
from tokenreel.layouts.filling import copy_stretches
from tokenreel.layouts.table import Layout, as_lengths
from tokenreel.ragged import Ints, ranks

VERSION = "segment-pairs-1"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """P pairs, in the order of their documents and sentences.

    Attributes:
      document: int64 [P, 2] the documents of both segments.
      start: int64 [P, 2] where each segment begins in its document, in tokens.
      length: int64 [P, 2] tokens of each segment, at least 1.
      label: uint8 [P] 1 if the second is from elsewhere (next sentence) or the two were swapped (sentence order).
      repeated: int64 [P] tokens that another of these pairs holds as well, and counts as its own.
      trimmed: int64 [P] tokens cut off pairs that were too long. Other pairs may hold them.
    """

    document: Ints
    start: Ints
    length: Ints
    label: npt.NDArray[np.uint8]
    repeated: Ints
    trimmed: Ints

    def __len__(self) -> int:
        return len(self.label)

    def whole(self, document_lengths: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Marks the documents that lie whole in one of the segments: bool [num_documents], from int [num_documents] tokens."""
        lengths = np.asarray(document_lengths)
        whole = np.zeros(len(lengths), dtype=np.bool_)
        whole[self.document[self.length == lengths[self.document]]] = True
        return whole

    def select(self, rows: npt.ArrayLike) -> Pairs:
        """Keeps some pairs, int [n] numbers, in the order given."""
        rows = np.asarray(rows, dtype=np.int64)
        return Pairs(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})

    def layout(self) -> Layout:
        """Gives the layout of both parts of every pair, for provenance. Only `fill` of this module knows where special tokens go."""
        return Layout(
            example=np.repeat(np.arange(len(self), dtype=np.int64), 2),
            document=self.document.ravel(),
            start=self.start.ravel(),
            length=self.length.ravel(),
            num_examples=len(self),
        )


def plan(
    sentence_lengths: npt.ArrayLike,
    sentences_per_document: npt.ArrayLike,
    document_ids: npt.ArrayLike,
    seq_len: int,
    *,
    seed: int,
    variant: int = 0,
    task: Literal["next_sentence", "sentence_order"] = "next_sentence",
    short_rate: float = 0.1,
) -> Pairs:
    """Makes pairs by the rules of BERT's data script.

    A document's sentences are taken until they reach a target length: `seq_len - 3`, or with `short_rate` a random one from 2 on, drawn
    once for each document. The chunk is cut in two after a random sentence. For `next_sentence`, the second part is replaced with
    probability one half, and always if the chunk is a single sentence, by sentences of another document from a random one on; the
    sentences not used then come again. For `sentence_order` (ALBERT) the parts are swapped with probability one half instead; single
    sentences still get a second part from another document. Pairs that are too long lose tokens at random ends, from the longer part
    first.

    Unlike the script, the other document never is the same one, unless there is no other.

    Args:
      sentence_lengths: int [num_sentences] tokens of each, documents in order; empty ones vanish.
      sentences_per_document: int [num_documents].
      document_ids: integers [num_documents], all different.
      seq_len: positions in an example, [CLS] and two [SEP] included.
      seed: of the build.
      variant: which variant of the dataset (BERT makes 10, `dupe_factor`).
      task: which pairs.
      short_rate: share of the documents with a shorter target.

    Raises:
      ConfigError: a setting is out of its range.
      BuildError: the numbers of documents or of sentences disagree.

    >>> pairs = plan([3, 4, 2, 5], [2, 2], [7, 8], 16, seed=0)
    >>> bool((pairs.length.sum(axis=1) <= 13).all())
    True
    """
    ids = np.asarray(document_ids)
    _check(seq_len, task, short_rate)
    sentences = _lay_end_to_end(sentence_lengths, sentences_per_document, ids)
    scope = keys.key(seed, "segment_pairs", variant)
    states = keys.streams(scope, f"{VERSION}/sentence", ids)
    room = seq_len - 3
    # Pairs are made of whole sentences first, and trimmed afterwards, all at once: what is trimmed does not change which pairs there are.
    parts = _pair_up(sentences, ids, states, _targets(scope, ids, room, short_rate), swap=task == "sentence_order")
    document, start, length = sentences.locate(parts.first, parts.stop)
    cut = _trims(length, room)
    names = keys.words_at(states[sentences.document[parts.chunk]], sentences.rank[parts.chunk])
    start, length = start + _left_trims(cut, names, scope), length - cut
    return Pairs(
        document=document,
        start=start,
        length=length,
        label=(parts.elsewhere | parts.swapped).astype(np.uint8),
        repeated=_repeated(start + sentences.bounds[sentences.first[document]], length, parts.elsewhere),
        trimmed=cut.sum(axis=1),
    )


def _check(seq_len: int, task: str, short_rate: float) -> None:
    """Refuses settings that are out of their range, with a `ConfigError`."""
    if seq_len < 5:
        raise ConfigError(f"packing.seq_len must be at least 5 for pairs with [CLS] and two [SEP], got {seq_len}")
    if task not in ("next_sentence", "sentence_order"):
        raise ConfigError(f"packing.options.task must be next_sentence or sentence_order, got {task!r}")
    rates.check_rate("packing.options.short_rate", short_rate, zero=True)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Sentences:
    """The S sentences that hold tokens, in the D documents laid end to end.

    Attributes:
      document: int64 [S] the document of each sentence.
      rank: int64 [S] how many sentences of its document stand before it.
      bounds: int64 [S + 1] the token at which each sentence begins, then the number of tokens.
      first: int64 [D + 1] the first sentence of each document, then S.
    """

    document: Ints
    rank: Ints
    bounds: Ints
    first: Ints

    def locate(self, first: Ints, stop: Ints) -> tuple[Ints, Ints, Ints]:
        """Gives the document, the start in it and the length, in tokens, of each of the int64 ranges of sentences [first, stop)."""
        document = self.document[first]
        begin = self.bounds[first]
        return document, begin - self.bounds[self.first[document]], self.bounds[stop] - begin


def _lay_end_to_end(sentence_lengths: npt.ArrayLike, sentences_per_document: npt.ArrayLike, ids: npt.NDArray[Any]) -> _Sentences:
    """Numbers the sentences and tokens of all documents, and leaves out empty sentences.

    Raises:
      BuildError: the numbers of documents or of sentences disagree.
    """
    lengths, per_document = as_lengths(sentence_lengths), as_lengths(sentences_per_document)
    if per_document.sum() != len(lengths) or ids.shape != per_document.shape:
        raise BuildError(
            f"{len(per_document):,} documents of {per_document.sum():,} sentences need as many ids and lengths, got {len(ids):,} and "
            f"{len(lengths):,}"
        )
    # A sentence without tokens could become a segment without tokens, which no layout has.
    document = np.repeat(np.arange(len(per_document)), per_document)[lengths > 0]
    per_document = np.bincount(document, minlength=len(ids)).astype(np.int64)
    return _Sentences(
        document=document,
        rank=ranks(per_document),
        bounds=np.append(0, np.cumsum(lengths[lengths > 0])),
        first=np.append(0, np.cumsum(per_document)),
    )


def _targets(scope: int, ids: npt.NDArray[Any], room: int, short_rate: float) -> list[int]:
    """Draws the number of tokens that the chunks of each document aim at, by its id: `room`, or now and then any from 2 on."""
    words = keys.bits(scope, f"{VERSION}/target", ids, 2)
    targets: list[int] = np.where(rates.happens(words[:, 0], short_rate), 2 + keys.below(words[:, 1], room - 1), room).tolist()
    return targets


class _Others:
    """Draws documents other than a given one, from those that hold sentences.

    They are numbered by id. Numbered as they arrive, another order of the same documents would give other pairs.
    """

    def __init__(self, ids: npt.NDArray[Any], sentences: _Sentences) -> None:
        by_id = np.argsort(ids, kind="stable")
        self._documents: list[int] = by_id[np.diff(sentences.first)[by_id] > 0].tolist()
        self._number = {document: number for number, document in enumerate(self._documents)}

    def draw(self, own: int, word: int) -> int:
        """Draws a document by a random word: never `own`, unless there is no other."""
        if len(self._documents) == 1:
            return own
        # One number less than there are documents: `own` is stepped over instead of drawn again, so one word is always enough.
        drawn = _below(word, len(self._documents) - 1)
        return self._documents[drawn + (drawn >= self._number[own])]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """P pairs before trimming, as ranges of sentences.

    Attributes:
      chunk: int64 [P] the first sentence of the chunk that was cut in two: it names the pair's random bits.
      first: int64 [P, 2] the first sentence of each part.
      stop: int64 [P, 2] the sentence behind the last one of each part.
      elsewhere: bool [P] the second part is from another document.
      swapped: bool [P] the parts stand in the other order than in their document.
    """

    chunk: Ints
    first: Ints
    stop: Ints
    elsewhere: npt.NDArray[np.bool_]
    swapped: npt.NDArray[np.bool_]


def _pair_up(sentences: _Sentences, ids: npt.NDArray[Any], states: npt.NDArray[np.uint64], targets: Sequence[int], *, swap: bool) -> _Parts:
    """Takes each document chunk by chunk, and makes a pair of every chunk.

    Args:
      sentences: of all documents.
      ids: integers [D] of the documents.
      states: uint64 [D] from which each document's random words come, four for each sentence that a chunk may begin with.
      targets: tokens that a chunk of each document aims at.
      swap: a coin decides whether the parts change places, not whether the second is replaced.
    """
    others = _Others(ids, sentences)
    # Where a chunk ends decides where the next one begins, so this is a loop. It runs over lists: an array gives out single numbers slowly.
    words = keys.words_at(states[sentences.document][:, None], sentences.rank[:, None] * 4 + np.arange(4)).tolist()
    bounds: list[int] = sentences.bounds.tolist()
    first: list[int] = sentences.first.tolist()
    rows: list[tuple[int, int, int, int, bool, bool]] = []  # sentences: first and stop of both parts; elsewhere, swapped
    for document, target in enumerate(targets):
        at, stop = first[document], first[document + 1]
        while at < stop:
            end = _reach(bounds, at, target, stop)
            coin, cut, other, begin = words[at]
            heads = coin >> 63 == 0  # its top bit
            middle = at + 1 + _below(cut, end - at - 1) if end - at > 1 else end
            if middle == end or (heads and not swap):
                drawn = others.draw(document, other)
                low = first[drawn] + _below(begin, first[drawn + 1] - first[drawn])
                missing = max(target - (bounds[middle] - bounds[at]), 1)
                rows.append((at, middle, low, _reach(bounds, low, missing, first[drawn + 1]), True, False))
                at = middle  # the sentences that were replaced come again
            else:
                rows.append((at, middle, middle, end, False, heads))
                at = end
    table = np.array(rows, np.int64).reshape(-1, 6)  # the shape of no rows, too
    begins, stops, swapped = table[:, [0, 2]], table[:, [1, 3]], table[:, 5] == 1
    begins[swapped], stops[swapped] = begins[swapped, ::-1], stops[swapped, ::-1]
    return _Parts(chunk=table[:, 0], first=begins, stop=stops, elsewhere=table[:, 4] == 1, swapped=swapped)


def _reach(bounds: Sequence[int], first: int, tokens: int, stop: int) -> int:
    """Finds the sentence behind the shortest range from `first` on that holds so many tokens; `stop` where they end before."""
    return bisect.bisect_left(bounds, bounds[first] + tokens, first + 1, stop)


def _trims(length: Ints, room: int) -> Ints:
    """Divides what is over `room` between the parts: the longer loses first, then both alike.

    Args:
      length: int64 [P, 2] tokens of the parts.
      room: tokens that both may have together.

    Returns:
      int64 [P, 2] tokens that each part loses.

    >>> _trims(np.array([[9, 4], [4, 4], [2, 1]]), 6).tolist()
    [[6, 1], [1, 1], [0, 0]]
    """
    # BERT's script takes a token at a time from the longer part, and from the second where both are equal. Its end, without the loop:
    excess = np.maximum(length.sum(axis=1) - room, 0)
    longer = np.minimum(excess, np.abs(length[:, 0] - length[:, 1]))
    both = excess - longer
    first = np.where(length[:, 0] > length[:, 1], longer, 0) + both // 2
    return np.stack([first, excess - first], axis=1)


def _repeated(begin: Ints, length: Ints, elsewhere: npt.NDArray[np.bool_]) -> Ints:
    """Counts the tokens of each pair that another one counts as its own: the first that holds them, borrowed segments last.

    Args:
      begin: int64 [P, 2] where each segment begins, in all documents laid end to end.
      length: int64 [P, 2] its tokens, at least 1.
      elsewhere: bool [P] whether the second is borrowed from another document.

    Returns:
      int64 [P].

    >>> _repeated(np.array([[9, 0], [2, 5]]), np.array([[1, 3], [2, 1]]), np.array([True, False])).tolist()
    [1, 0]
    """
    borrowed = np.stack([np.zeros_like(elsewhere), elsewhere], axis=1).ravel()
    begin, length = begin.ravel(), length.ravel()
    # Between two neighbouring edges every token lies in the same segments: such a stretch is counted at once, for the first of them.
    edges = np.unique(np.append(begin, begin + length))
    first = np.searchsorted(edges, begin)
    stretches = np.searchsorted(edges, begin + length) - first
    turn = np.empty(len(begin), dtype=np.int64)
    turn[np.argsort(borrowed, kind="stable")] = np.arange(len(begin))
    inside = np.repeat(first, stretches) + ranks(stretches)
    own = np.full(len(edges), len(begin), dtype=np.int64)
    np.minimum.at(own, inside, np.repeat(turn, stretches))
    again = own[inside] != np.repeat(turn, stretches)
    pair = np.repeat(np.arange(len(begin)) // 2, stretches)
    return np.bincount(pair, weights=np.append(np.diff(edges), 0)[inside] * again, minlength=len(elsewhere)).astype(np.int64)


def _left_trims(cut: Ints, names: npt.NDArray[np.uint64], scope: int) -> Ints:
    """Draws how many of the tokens that the parts lose are taken from their beginnings, a coin for each token.

    Args:
      cut: int64 [P, 2] tokens that each part loses.
      names: uint64 [P] that name the bits of each pair.
      scope: of the bits.

    Returns:
      int64 [P, 2].
    """
    return np.stack([_coins(keys.streams(scope, f"{VERSION}/trim-{side}", names), cut[:, side]) for side in (0, 1)], axis=1)


def _coins(states: npt.NDArray[np.uint64], counts: Ints) -> Ints:
    """Tosses coins, a bit each, the lowest first, and counts the heads.

    Args:
      states: uint64 [n] streams of random words.
      counts: int64 [n] coins of each stream.

    Returns:
      int64 [n].
    """
    words = -(-counts // 64)  # of each stream
    if not words.sum():
        return np.zeros_like(counts)
    drawn = keys.words_at(np.repeat(states, words), ranks(words)).astype("<u8")  # little-endian, so that bits come alike everywhere
    bits = np.unpackbits(drawn.view(np.uint8), bitorder="little")
    bits[ranks(words * 64) >= np.repeat(counts, words * 64)] = 0
    heads = np.zeros_like(counts)
    some = words > 0
    begins = (np.cumsum(words) - words)[some] * 64
    heads[some] = np.add.reduceat(bits.astype(np.int64), begins)
    return heads


def fill(
    tokens: npt.NDArray[Any],
    document_offsets: npt.ArrayLike,
    pairs: Pairs,
    seq_len: int,
    *,
    first_id: int,
    separator_id: int,
    pad_id: int,
) -> dict[str, npt.NDArray[Any]]:
    """Writes `[CLS] A [SEP] B [SEP]` and padding.

    Args:
      tokens: [num_tokens] ids of any integer dtype, documents end to end.
      document_offsets: int [num_documents] where each begins in `tokens`.
      pairs: the plan.
      seq_len: positions in an example.
      first_id: [CLS].
      separator_id: [SEP].
      pad_id: padding.

    Returns:
      `tokens` [P, seq_len] of the dtype given, `segment_ids` uint8 [P, seq_len] (0 up to the first separator and on padding, then 1),
      `num_tokens` int64 [P], `pair_label` uint8 [P].
    """
    size = len(pairs)
    out = np.empty((size, seq_len), tokens.dtype)
    source = np.asarray(document_offsets, dtype=np.int64)[pairs.document] + pairs.start
    row = np.arange(size)
    place = np.stack([np.ones(size, np.int64), pairs.length[:, 0] + 2], axis=1) + row[:, None] * seq_len
    copy_stretches(tokens, source.ravel(), place.ravel(), pairs.length.ravel(), out.reshape(-1), pad_id)
    num_tokens = pairs.length.sum(axis=1) + 3
    out[:, 0] = first_id
    out[row, pairs.length[:, 0] + 1] = separator_id
    out[row, num_tokens - 1] = separator_id
    column = np.arange(seq_len)
    second = (column > pairs.length[:, :1] + 1) & (column < num_tokens[:, None])  # behind the first [SEP], up to the second
    return {"tokens": out, "segment_ids": second.astype(np.uint8), "num_tokens": num_tokens, "pair_label": pairs.label}


def output_shapes(seq_len: int, vocab_size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Gives the dtype and the shape in one example of each array that `fill` makes."""
    return {
        "tokens": (token_dtype(vocab_size), (seq_len,)),
        "segment_ids": ("uint8", (seq_len,)),
        "num_tokens": ("int32", ()),
        "pair_label": ("uint8", ()),
    }


def _below(word: int, bound: int) -> int:
    """Maps one random word to [0, bound), as `keys.below` maps an array of them."""
    return (word >> 32) * bound >> 32
