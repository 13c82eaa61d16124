"""Merges against the definition, in units of any length; against the library: test_memo.py."""

import itertools

import numpy as np
import pytest

from tests.tokenreel.vocabularies.blocks import block, split
from tests.tokenreel.vocabularies.sentencepiece.models import with_pieces
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.unit_memo.kernels.slots import MOST_KEPT
from tokenreel.vocabularies.unit_memo.memo import load

PIECES = {"a": -1.0, "b": -2.0, "c": -3.0, "é": -3.5, "ab": -4.0, "bc": -5.0, "abc": -6.0, "cé": -4.0, "aa": -7.0, "xa": -5.0}
UNKNOWN = "<unk>"


def merged_by_definition(text, pieces):
    """The best pair first, of equals the leftmost; unknown characters side by side are one."""
    symbols = list(text)
    while True:
        pairs = [(-pieces[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(symbols)) if a + b in pieces]
        if not pairs:
            break
        _, best = min(pairs)
        symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
    names = [symbol if symbol in pieces else UNKNOWN for symbol in symbols]
    return [name for place, name in enumerate(names) if name != UNKNOWN or place == 0 or names[place - 1] != UNKNOWN]


@pytest.mark.parametrize("sizes", [(1, 30, 400), (MOST_KEPT // 2, 4 * MOST_KEPT, 30)])
@pytest.mark.parametrize("equal", [False, True])
def test_texts_are_merged_by_the_definition(train, sizes, equal):
    pieces = {name: float(round(score / 4)) for name, score in PIECES.items()} if equal else PIECES
    data = with_pieces(
        train("bpe", "identity", False, add_dummy_prefix=False),
        lambda old: [piece for piece in old if piece[2] != 1] + [(name.encode(), score, 1) for name, score in pieces.items()],
    )
    names = [piece.decode() for piece in sentencepiece_model.parse(data).pieces]
    random = np.random.default_rng(0)
    texts = ["", *("".join(random.choice(list("abcé日x"), size)) for size in random.integers(*sizes))]
    ids, lengths = load(data, 1 << 20).encode_block(*block(texts))
    assert [[names[i] for i in part] for part in split(ids, lengths)] == [merged_by_definition(text, pieces) for text in texts]
