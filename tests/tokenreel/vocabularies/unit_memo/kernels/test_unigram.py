"""Segmentations by a unigram model: the best of all. How sums of float32 are rounded is compared with the library in test_memo.py."""

import numpy as np

from tests.tokenreel.vocabularies.blocks import block, split
from tests.tokenreel.vocabularies.sentencepiece.models import with_pieces
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.unit_memo.memo import load

PIECES = {"a": -2.0, "b": -2.5, "ab": -4.0, "abc": -7.5, "bc": -5.5, "c": -3.0, "aa": -4.5, "é": -3.0}
UNKNOWN_SCORE = -17.5


def all_segmentations(text):
    """Every way to write a text in pieces, and the sum of its scores."""
    if not text:
        yield [], 0.0
    for size in range(1, len(text) + 1):
        if text[:size] in PIECES or size == 1:
            own = [text[:size]] if text[:size] in PIECES else [f"<0x{byte:02X}>" for byte in text[:size].encode()]
            for rest, score in all_segmentations(text[size:]):
                yield own + rest, PIECES.get(text[:size], UNKNOWN_SCORE) + score


def test_the_best_segmentation_is_found(train):
    data = with_pieces(
        train("unigram", "identity", True, add_dummy_prefix=False),
        lambda old: [piece for piece in old if piece[2] != 1] + [(name.encode(), score, 1) for name, score in PIECES.items()],
    )
    names = [piece.decode() for piece in sentencepiece_model.parse(data).pieces]
    random = np.random.default_rng(0)
    texts = ["", *("".join(random.choice(list("abcéx"), size)) for size in random.integers(1, 10, 200))]
    ids, lengths = load(data, 1 << 20).encode_block(*block(texts))
    for text, found in zip(texts, split(ids, lengths), strict=True):
        ways = list(all_segmentations(text))
        best = max(score for _, score in ways)
        assert [names[i] for i in found] in [way for way, score in ways if score == best], text
