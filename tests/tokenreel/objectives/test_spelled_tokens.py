"""Tokens as characters: what is hidden is whole tokens, and the rest spells the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tokenreel.errors import ConfigError
from tokenreel.objectives.registry import make_objective
from tokenreel.objectives.spelled_tokens import MASK, PAD, UNKNOWN, SpelledTokens

PIECES = [None, None, " the", "the", " ca", "t", "naïve", " ", "\ufffd", "日本語", " x-ray", "un"]
ALPHABET = " abcdefghijklmnopqrstuvwxyzï-"
VOCAB = len(PIECES)


def make(seq_len=12, **settings):
    return SpelledTokens(**{"seq_len": seq_len, "vocab_size": VOCAB, "pieces": PIECES, "alphabet": ALPHABET, **settings})


def examples(n, seq_len, seed):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, VOCAB, (n, seq_len)).astype(np.uint16)
    num_tokens = rng.integers(0, seq_len + 1, n)
    tokens[np.arange(seq_len) >= num_tokens[:, None]] = 0
    starts = (rng.random(tokens.shape) < 0.2) & (np.arange(seq_len) < num_tokens[:, None])
    return {"tokens": tokens, "document_starts": starts, "num_tokens": num_tokens}


def letters_of(token, alphabet):
    piece = PIECES[token] or ""
    if alphabet is None:
        return [3 + byte for byte in piece.encode()]
    return [3 + alphabet.index(c) if c in alphabet else UNKNOWN for c in piece]


@given(
    SEEDS,
    st.integers(2, 20),
    st.sampled_from([ALPHABET, None]),
    st.floats(0.05, 1),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_laws(seed, seq_len, alphabet, rate, width, least, negatives):
    arrays = examples(6, seq_len, seed)
    settings = {"alphabet": alphabet, "rate": rate, "width": width, "min_characters": least, "negatives": negatives}
    made_by = make(seq_len, **settings)
    made = made_by.apply(arrays, np.arange(6) + 3, seed=seed)
    assert {name: values.shape[1:] for name, values in made.items() if name not in arrays} == {
        name: shape for name, (_, shape) in made_by.output_shapes().items()
    }
    for row in range(6):
        spelled, starts, places, able = [], [], [], []
        document = fresh = 0
        for column in range(arrays["num_tokens"][row]):
            token = int(arrays["tokens"][row, column])
            if arrays["document_starts"][row, column]:
                document, fresh = document + 1, 1
            letters = letters_of(token, alphabet)
            if len(spelled) + len(letters) > width:
                break
            if letters and fresh:
                starts.append(len(spelled))
                fresh = 0
            if letters and len((PIECES[token] or "").strip()) >= least:
                able.append((len(spelled), len(spelled) + len(letters), token))
            places.append(len(spelled))
            spelled += letters
        used = made["span_weights"][row].astype(bool)
        spans = list(zip(*(made[f"span_{name}"][row][used].tolist() for name in ("starts", "ends", "ids")), strict=True))
        assert set(spans) <= set(able) and spans == sorted(spans) and len(set(spans)) == len(spans)
        assert used.tolist() == sorted(used.tolist(), reverse=True)
        hidden = np.zeros(width, bool)
        for start, end, _ in spans:
            hidden[start:end] = True
        clean = np.array(spelled + [PAD] * (width - len(spelled)))
        np.testing.assert_array_equal(made["characters"][row], np.where(hidden, MASK, clean))
        assert made["num_characters"][row] == len(spelled)
        assert np.flatnonzero(made["character_starts"][row]).tolist() == starts
        if negatives:
            drawn = made["negative_ids"][row][used]
            assert all(PIECES[i] is not None for i in drawn.ravel().tolist())
            assert not (drawn == made["span_ids"][row][used][:, None]).any()
    np.testing.assert_array_equal(made["tokens"], arrays["tokens"])
    alone = made_by.apply({name: values[2:3] for name, values in arrays.items()}, [5], seed=seed)
    assert all((alone[name][0] == made[name][2]).all() for name in made), "an example is drawn by its id alone"


def test_negatives_are_drawn_evenly():
    tokens = np.full((4000, 2), 2, np.uint16)
    made = make(2, rate=1, negatives=2).apply({"tokens": tokens}, np.arange(4000), seed=0)
    counts = np.bincount(made["negative_ids"].ravel(), minlength=VOCAB)
    others = [i for i, piece in enumerate(PIECES) if piece is not None and i != 2]
    assert counts.sum() == 16_000 == counts[others].sum()
    expected = 16_000 / len(others)
    assert (np.abs(counts[others] - expected) < 5 * np.sqrt(expected)).all()
    again = make(2, rate=1, negatives=2).apply({"tokens": tokens[:5]}, np.arange(5), seed=0)
    np.testing.assert_array_equal(again["negative_ids"], made["negative_ids"][:5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pieces": ["a"]}, r"objective\.pieces has an entry for each of 12 ids, got 1"),
        ({"alphabet": ""}, r"objective\.alphabet lists characters, each once"),
        ({"alphabet": "aa"}, r"objective\.alphabet lists characters, each once"),
        ({"width": 0}, r"objective\.width must be at least 1"),
        ({"min_characters": 0}, r"objective\.min_characters must be at least 1"),
        ({"negatives": -1}, r"objective\.negatives must be at least 0"),
        ({"pieces": [None] * 11 + ["a"], "negatives": 1}, r"objective\.negatives needs tokens that are not special"),
        ({"rate": 2.0}, r"objective\.rate"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_the_vocabulary_tells_how_tokens_are_written():
    facts = {"vocab_size": VOCAB, "pieces": PIECES, "special_ids": (0, 11)}
    found = make_objective("spelled_tokens", seq_len=4, vocabulary=facts, rate=0.5)
    assert list(found.pieces) == [*PIECES[:11], None], "what separates documents is no text"
    with pytest.raises(ConfigError, match=r"needs objective\.pieces"):
        make_objective("spelled_tokens", seq_len=4, vocabulary={"vocab_size": VOCAB})
