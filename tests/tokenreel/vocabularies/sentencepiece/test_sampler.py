"""What the sampler draws stays the same; `tests/tokenreel/vocabularies/test_sampled.py` tests it through the vocabulary."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.tokenreel.vocabularies.blocks import split
from tokenreel import keys
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.sentencepiece import sampler


def small_model(kind):
    """A .model file of a few pieces, byte by byte, so that no version of the library has a say."""
    pieces = [
        ("<unk>", 0.0, 2),
        ("▁", -2.0, 1),
        ("a", -3.0, 1),
        ("b", -3.5, 1),
        ("ab", -2.5, 1),
        ("▁a", -2.25, 1),
        ("▁ab", -2.75, 1),
        ("ba", -4.0, 1),
    ]
    data = b""
    for piece, score, type_ in pieces:
        name = piece.encode()
        message = b"\x0a" + bytes([len(name)]) + name + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([type_])
        data += b"\x0a" + bytes([len(message)]) + message
    return data + b"\x12\x02\x18" + bytes([kind])


@pytest.mark.parametrize(
    ("kind", "alpha", "expected"),
    [
        (sentencepiece_model.UNIGRAM, 0.1, [[5, 7, 3, 1, 4, 1, 3, 0, 2, 4], [], [1, 4], [6, 4, 6, 1, 3, 0, 2, 2, 3], [], [6]]),
        (sentencepiece_model.BPE, 0.3, [[5, 3, 4, 6, 1, 3, 0, 2, 4], [], [6], [6, 4, 1, 2, 3, 1, 3, 0, 2, 2, 3], [], [6]]),
    ],
)
def test_draws_are_pinned(kind, alpha, expected):
    """Who has built a dataset with sampling can build it again: a change of these needs another `sampler.VERSION`."""
    texts = ["▁abab▁ab▁b日aab".encode(), b"", "▁ab".encode()] * 2
    ids, lengths = sampler.load(small_model(kind)).sample(texts, keys.streams(7, "subword_sampling", np.arange(6)), alpha)
    assert split(ids, lengths) == expected
