"""One document per example: padded to one length, or cut into lengths that are powers of two."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.layouts.settings import LongDocuments, check_seq_len
from tokenreel.layouts.table import Layout, as_lengths, counted, split_documents


def pad(lengths: npt.ArrayLike, seq_len: int, *, long_documents: LongDocuments = "truncate") -> Layout:
    """Gives each document an example of its own.

    Args:
      lengths: int [num_documents].
      seq_len: positions in an example.
      long_documents: over `seq_len` tokens: "truncate" (reason `truncated`), "split" into several examples, or "drop" (reason `too_long`).

    Raises:
      ConfigError: a setting is out of its range.
      BuildError: a length is negative or no integer.

    >>> pad([3, 9], 4).length.tolist(), pad([3, 9], 4, long_documents="split").length.tolist()
    ([3, 4], [3, 4, 4, 1])
    """
    check_seq_len(seq_len)
    document, start, length, dropped = split_documents(as_lengths(lengths), seq_len, long_documents)
    return Layout(
        example=np.arange(len(length), dtype=np.int64),
        document=document,
        start=start,
        length=length,
        num_examples=len(length),
        dropped=dropped,
    )


def buckets(lengths: npt.ArrayLike, min_exponent: int = 8, max_exponent: int = 13, extra: int = 1) -> dict[int, Layout]:
    """Cuts documents into segments of powers of two, longest first (Dataset Decomposition, Pouransari et al. 2024, arXiv:2405.13226).

    A training run draws batches of one length at a time: no padding, no attention across documents, short sequences early.

    Args:
      lengths: int [num_documents].
      min_exponent: the shortest segments have 2**min_exponent + extra tokens; what is left of a document is dropped (reason `too_short`).
      max_exponent: the longest segments have 2**max_exponent + extra tokens.
      extra: 1 keeps the token that is only a target of the last position, as the paper's code does; 0 leaves it out.

    Returns:
      A layout for each length 2**k + extra, shortest first. The drops are counted in the first.

    Raises:
      ConfigError: a setting is out of its range.
      BuildError: a length is negative or no integer.

    >>> {length: layout.num_examples for length, layout in buckets([3000], 8, 11).items()}
    {257: 1, 513: 1, 1025: 0, 2049: 1}
    """
    if not 0 <= min_exponent <= max_exponent <= 40:
        raise ConfigError(
            f"packing.options.min_exponent and max_exponent must satisfy 0 <= min <= max <= 40, got {min_exponent} and {max_exponent}"
        )
    if extra not in (0, 1):
        raise ConfigError(f"extra must be 0 or 1, got {extra}")
    # Each length takes as many segments of a document as it can, and what is left goes to the next shorter one.
    left = as_lengths(lengths).copy()
    start = np.zeros_like(left)
    layouts: dict[int, Layout] = {}
    for exponent in range(max_exponent, min_exponent - 1, -1):
        length = 2**exponent + extra
        document, offset, size, _ = split_documents(left // length * length, length, "split")
        layouts[length] = Layout(
            example=np.arange(len(document), dtype=np.int64),
            document=document,
            start=start[document] + offset,
            length=size,
            num_examples=len(document),
        )
        start += left // length * length
        left %= length
    result = dict(sorted(layouts.items()))
    shortest = 2**min_exponent + extra
    result[shortest] = dataclasses.replace(result[shortest], dropped=counted(too_short=int(left.sum())))
    return result


def bucket(lengths: npt.ArrayLike, seq_len: int, overlap: Literal[0, 1] = 0, *, min_exponent: int = 8, max_exponent: int = 13) -> Layout:
    """Gives one of the layouts of `buckets`: that of the segments of `seq_len + overlap` tokens, for a dataset of its own.

    Args:
      lengths: int [num_documents].
      seq_len: a power of two between the shortest and the longest.
      overlap: `extra` of `buckets`.
      min_exponent: see `buckets`.
      max_exponent: see `buckets`.

    Returns:
      The layout. What the segments of other lengths hold is counted as dropped, reason `other_buckets`; the rest is `too_short`.

    Raises:
      ConfigError: a setting is out of its range, or no segments have this length.
      BuildError: a length is negative or no integer.

    >>> layout = bucket([3000], 512, 1)
    >>> layout.length.tolist(), dict(layout.dropped)
    ([513], {'other_buckets': 2306, 'too_short': 181})
    """
    layouts = buckets(lengths, min_exponent, max_exponent, overlap)
    if seq_len + overlap not in layouts:
        known = ", ".join(str(length - overlap) for length in layouts)
        raise ConfigError(
            f"packing.seq_len must be one of {known} for min_exponent {min_exponent} and max_exponent {max_exponent}, got {seq_len}"
        )
    own = layouts[seq_len + overlap]
    too_short = layouts[2**min_exponent + overlap].dropped
    others = sum(int(layout.length.sum()) for layout in layouts.values()) - int(own.length.sum())
    return dataclasses.replace(own, dropped={**counted(other_buckets=others), **too_short})
