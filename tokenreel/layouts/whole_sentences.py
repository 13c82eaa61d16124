"""Fills examples with whole sentences, as RoBERTa does (Liu et al. 2019, arXiv:1907.11692)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError
from tokenreel.layouts.settings import check_seq_len
from tokenreel.layouts.table import Layout, as_lengths, counted, greedy
from tokenreel.ragged import Ints, ranks


def full_sentences(
    sentence_lengths: npt.ArrayLike,
    sentences_per_document: npt.ArrayLike,
    seq_len: int,
    *,
    cross_documents: bool = True,
    min_tokens: int = 1,
) -> Layout:
    """Fills examples with whole sentences in order (RoBERTa; fairseq's `complete`, or `complete_doc` if not `cross_documents`).

    A sentence opens a new example when the open one has no room for it. One over `seq_len` tokens is cut into full parts and a rest, where
    fairseq would make a longer example. A separator between documents is a last sentence of each.

    Args:
      sentence_lengths: int [num_sentences], documents in order.
      sentences_per_document: int [num_documents].
      seq_len: positions in an example.
      cross_documents: whether an example may hold sentences of several documents (FULL-SENTENCES) or not (DOC-SENTENCES).
      min_tokens: shorter examples are dropped (reason `too_short`); fairseq's `complete_doc` uses 2.

    Returns:
      The layout. Neighbouring sentences of a document are one segment.

    Raises:
      ConfigError: `seq_len` is out of its range.
      BuildError: a length is negative or no integer, or the numbers of sentences disagree.

    >>> full_sentences([4, 3, 1, 6, 2, 1], [3, 3], 8).length.tolist(), full_sentences([4, 3, 1, 6, 2, 1], [3, 3], 8).example.tolist()
    ([8, 8, 1], [0, 1, 2])
    """
    sentences = as_lengths(sentence_lengths)
    per_document = as_lengths(sentences_per_document)
    check_seq_len(seq_len)
    if per_document.sum() != len(sentences):
        raise BuildError(f"the documents have {per_document.sum():,} sentences, {len(sentences):,} lengths were given")
    document, length = _cut_long(sentences, per_document, seq_len)
    opens = np.append(True, document[1:] != document[:-1])[: len(document)]
    heads = greedy(length, seq_len, breaks=None if cross_documents else opens)
    block = np.zeros(len(length), np.int64)
    block[heads[1:]] = 1
    block = np.cumsum(block)  # the example of each part, before short ones are left out
    too_short = np.bincount(block, weights=length, minlength=len(heads)) < min_tokens
    # Parts of one document in one example are one segment.
    segment_heads = np.flatnonzero(opens | np.append(True, block[1:] != block[:-1])[: len(block)])
    begin = np.cumsum(length) - length
    begin -= np.repeat(begin[opens], np.diff(np.append(np.flatnonzero(opens), len(begin))))  # inside the document
    segment_length = np.add.reduceat(length, segment_heads) if len(segment_heads) else length
    segment_block = block[segment_heads]
    kept = ~too_short[segment_block]
    return Layout(
        example=(np.cumsum(~too_short) - 1)[segment_block][kept],
        document=document[segment_heads][kept],
        start=begin[segment_heads][kept],
        length=segment_length[kept],
        num_examples=int((~too_short).sum()),
        dropped=counted(too_short=int(segment_length[~kept].sum())),
    )


def _cut_long(sentences: Ints, per_document: Ints, seq_len: int) -> tuple[Ints, Ints]:
    """Cuts sentences over `seq_len` tokens into parts that fit.

    Args:
      sentences: int64 [num_sentences] lengths, documents in order.
      per_document: int64 [num_documents] sentences of each.
      seq_len: positions in an example.

    Returns:
      int64 [parts] the document and the length of each part, which mostly is a whole sentence.
    """
    document = np.repeat(np.arange(len(per_document), dtype=np.int64), per_document)
    parts = -(-sentences // seq_len)
    length = np.minimum(np.repeat(sentences, parts) - ranks(parts) * seq_len, seq_len)
    return np.repeat(document, parts), length
