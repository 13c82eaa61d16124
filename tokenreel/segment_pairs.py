"""Pairs of text segments with a label: BERT's next-sentence prediction and ALBERT's sentence order.

Every choice is keyed by the document and the sentence it is made at, and the other document of a random pair is drawn from the documents
sorted by id. So neither the order in which documents come nor how they are spread over workers changes a pair; only the set of documents
(the planning group) does.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tokenreel import keys, rates
from tokenreel.errors import BuildError, ConfigError
from tokenreel.schema import token_dtype
from tokenreel.segment_tables import Ints, Segments, as_lengths, copy_runs, ranks

VERSION = "segment-pairs-1"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """P pairs, in the order of their documents and sentences.

    Attributes:
      document: int64 [P, 2] the documents of both segments.
      start: int64 [P, 2] where each segment begins in its document, in tokens.
      length: int64 [P, 2] tokens of each segment, at least 1.
      label: uint8 [P] 1 if the second is from elsewhere (next sentence) or the two were swapped (sentence order).
      repeated: int64 [P] tokens of a second segment that is from elsewhere, before trimming: they are another document's own.
      trimmed: int64 [P] tokens cut off pairs that were too long.
    """

    document: Ints
    start: Ints
    length: Ints
    label: npt.NDArray[np.uint8]
    repeated: Ints
    trimmed: Ints

    def __len__(self) -> int:
        return len(self.label)

    def select(self, rows: npt.ArrayLike) -> Pairs:
        """Keeps some pairs, in the order given."""
        rows = np.asarray(rows, dtype=np.int64)
        return Pairs(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})

    def segments(self) -> Segments:
        """The table of their pieces, for provenance; `fill` of this module knows where special tokens go, `packing.fill` does not."""
        return Segments(
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
      variant: which copy of the data (BERT makes 10, `dupe_factor`).
      task: which pairs.
      short_rate: share of the documents with a shorter target.

    >>> pairs = plan([3, 4, 2, 5], [2, 2], [7, 8], 16, seed=0)
    >>> bool((pairs.length.sum(axis=1) <= 13).all())
    True
    """
    if seq_len < 5:
        raise ConfigError(f"packing.seq_len must be at least 5 for pairs with [CLS] and two [SEP], got {seq_len}")
    if task not in ("next_sentence", "sentence_order"):
        raise ConfigError(f"packing.options.task must be next_sentence or sentence_order, got {task!r}")
    rates.check_rate("packing.options.short_rate", short_rate, zero=True)
    sentences, per_document = as_lengths(sentence_lengths), as_lengths(sentences_per_document)
    ids = np.asarray(document_ids)
    if per_document.sum() != len(sentences) or ids.shape != per_document.shape:
        raise BuildError(
            f"{len(per_document):,} documents of {per_document.sum():,} sentences need as many ids and lengths, got {len(ids):,} and "
            f"{len(sentences):,}"
        )
    document = np.repeat(np.arange(len(per_document)), per_document)[sentences > 0]
    sentences = sentences[sentences > 0]
    per_document = np.bincount(document, minlength=len(ids)).astype(np.int64)
    scope = keys.key(seed, "segment_pairs", variant)
    by_id = np.argsort(ids, kind="stable")
    others = by_id[per_document[by_id] > 0].tolist()
    place = {number: at for at, number in enumerate(others)}

    room = seq_len - 3
    words = keys.bits(scope, f"{VERSION}/target", ids, 2)
    target = np.where(rates.happens(words[:, 0], short_rate), 2 + keys.below(words[:, 1], room - 1), room).tolist()
    states = keys.streams(scope, f"{VERSION}/sentence", ids)
    rank = ranks(per_document)
    choices = keys.words_at(states[document][:, None], rank[:, None] * 4 + np.arange(4)).tolist()
    ends = np.append(0, np.cumsum(sentences)).tolist()  # of sentences, in tokens
    first = np.append(0, np.cumsum(per_document)).tolist()  # sentence of each document

    rows: list[tuple[int, int, int, int, int, int]] = []
    anchors = []
    for number in range(len(ids)):
        at, stop, goal = first[number], first[number + 1], target[number]
        while at < stop:
            end = min(bisect.bisect_left(ends, ends[at] + goal, at + 1, stop), stop)
            coin, cut, other, other_start = choices[at]
            middle = at + 1 + _below(cut, end - at - 1) if end - at > 1 else end
            flip = coin >> 63 == 0
            anchors.append(at)
            following = end
            if middle == end or (flip and task == "next_sentence"):
                pick = number
                if len(others) > 1:
                    chosen = _below(other, len(others) - 1)
                    pick = others[chosen + (chosen >= place[number])]
                low = first[pick] + _below(other_start, first[pick + 1] - first[pick])
                wanted = max(goal - (ends[middle] - ends[at]), 1)
                high = min(bisect.bisect_left(ends, ends[low] + wanted, low + 1, first[pick + 1]), first[pick + 1])
                rows.append((ends[at], ends[middle], ends[low], ends[high], 1, 0))
                following = middle
            else:
                rows.append((ends[at], ends[middle], ends[middle], ends[end], int(flip), int(flip)))
            at = following
    table = np.array(rows, np.int64).reshape(-1, 6)
    start, stop_ = table[:, [0, 2]], table[:, [1, 3]]
    swapped = table[:, 5] == 1
    start[swapped], stop_[swapped] = start[swapped][:, ::-1], stop_[swapped][:, ::-1]
    begins = np.array(ends, np.int64)[np.array(first[:-1], np.int64)] if len(ids) else np.zeros(0, np.int64)
    filled = np.flatnonzero(per_document)
    owner = filled[np.searchsorted(begins[filled], start, side="right") - 1] if len(table) else np.zeros((0, 2), np.int64)
    start -= begins[owner]
    length = stop_ - start - begins[owner]

    excess = np.maximum(length.sum(axis=1) - room, 0)
    longer = np.minimum(excess, np.abs(length[:, 0] - length[:, 1]))
    rest = excess - longer
    first_longer = length[:, 0] > length[:, 1]
    cut_first = np.where(first_longer, longer, 0) + rest // 2
    cut = np.stack([cut_first, excess - cut_first], axis=1)
    names = keys.words_at(states[document[anchors]] if anchors else np.zeros(0, np.uint64), rank[anchors] if anchors else 0)
    for side in (0, 1):
        start[:, side] += _coins(keys.streams(scope, f"{VERSION}/trim-{side}", names), cut[:, side])
    elsewhere = (table[:, 4] == 1) & ~swapped
    return Pairs(
        document=owner,
        start=start,
        length=length - cut,
        label=table[:, 4].astype(np.uint8),
        repeated=np.where(elsewhere, table[:, 3] - table[:, 2], 0),
        trimmed=excess,
    )


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
      tokens: [num_tokens] documents.
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
    copy_runs(tokens, source.ravel(), place.ravel(), pairs.length.ravel(), out.reshape(-1), pad_id)
    num_tokens = pairs.length.sum(axis=1) + 3
    out[:, 0] = first_id
    out[row, pairs.length[:, 0] + 1] = separator_id
    out[row, num_tokens - 1] = separator_id
    column = np.arange(seq_len)
    second = (column > pairs.length[:, :1] + 1) & (column < num_tokens[:, None])
    return {"tokens": out, "segment_ids": second.astype(np.uint8), "num_tokens": num_tokens, "pair_label": pairs.label}


def output_shapes(seq_len: int, vocab_size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape, in one example, of what `fill` makes."""
    return {
        "tokens": (token_dtype(vocab_size), (seq_len,)),
        "segment_ids": ("uint8", (seq_len,)),
        "num_tokens": ("int32", ()),
        "pair_label": ("uint8", ()),
    }


def statistics(pairs: Pairs) -> Mapping[str, int]:
    """Counts pairs, those labelled 1, their tokens without special ones, and those trimmed; the counts add up."""
    return {
        "examples": len(pairs),
        "labelled": int(pairs.label.sum()),
        "tokens": int(pairs.length.sum()),
        "trimmed_tokens": int(pairs.trimmed.sum()),
    }


def _below(word: int, bound: int) -> int:
    """`keys.below` of one word."""
    return (word >> 32) * bound >> 32


def _coins(states: npt.NDArray[np.uint64], counts: Ints) -> Ints:
    """How many of `counts` coins show heads, by the bits of each stream, the lowest first."""
    words = -(-counts // 64)
    if not words.sum():
        return np.zeros_like(counts)
    drawn = keys.words_at(np.repeat(states, words), ranks(words)).astype("<u8")
    bits = np.unpackbits(drawn.view(np.uint8), bitorder="little")
    bits[ranks(words * 64) >= np.repeat(counts, words * 64)] = 0
    heads = np.zeros_like(counts)
    some = words > 0
    begins = (np.cumsum(words) - words)[some] * 64
    heads[some] = np.add.reduceat(bits.astype(np.int64), begins)
    return heads
