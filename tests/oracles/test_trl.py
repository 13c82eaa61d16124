"""TRL's packing strategies and our layouts, on random documents and on built datasets.

`bfd_split` is `best_fit`, `bfd` is `best_fit` with `long_documents: truncate`, `wrapped` is `wrap` with `last_example: pad`: the same rows
in the same order, ties included. TRL packs what it is given, which by default is a thousand documents at a time; ours a planning group.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import built
from tests.strategies import LENGTHS
from tests.tokenreel.layouts.laws import documents, rows
from tokenreel.layouts import best_fit, wrap

pytestmark = pytest.mark.oracles

LAYOUTS = {
    "bfd": lambda lengths, seq_len: best_fit(lengths, seq_len, long_documents="truncate"),
    "bfd_split": lambda lengths, seq_len: best_fit(lengths, seq_len),
    "wrapped": lambda lengths, seq_len: wrap(lengths, seq_len, last_example="pad"),
}
PACKING = {
    "bfd": {"mode": "best_fit", "long_documents": "truncate"},
    "bfd_split": {"mode": "best_fit"},
    "wrapped": {"mode": "wrap", "last_example": "pad"},
}


def pack(texts, seq_len, strategy):
    """TRL's rows, and the lengths of the segments in each (none of `wrapped`)."""
    import datasets
    import trl

    features = datasets.Features({"input_ids": datasets.Sequence(datasets.Value("int32"))})
    packed = trl.pack_dataset(
        datasets.Dataset.from_dict({"input_ids": [list(text) for text in texts]}, features=features),
        seq_len,
        strategy,
        {"batch_size": None},  # all at once
    )
    found = packed[:]
    return found["input_ids"], found.get("seq_lengths")


def check(lengths, seq_len, strategy):
    stream, offsets = documents(lengths)
    theirs, segments = pack(np.split(stream, offsets[1:]), seq_len, strategy)
    layout = LAYOUTS[strategy](lengths, seq_len)
    ours = rows(layout)
    assert [[token for d, s, n in row for token in stream[offsets[d] + s :][:n].tolist()] for row in ours] == theirs
    if segments is not None:
        assert [[n for _, _, n in row] for row in ours] == segments


def test_all_strategies_are_here():
    import trl

    with pytest.raises(ValueError, match=r"must be one of \('bfd', 'bfd_split', 'wrapped'\)"):
        trl.pack_dataset(None, 8, "another")


@pytest.mark.parametrize("strategy", LAYOUTS)
@settings(max_examples=60)
@given(lengths=LENGTHS, seq_len=st.integers(2, 50))
def test_the_same_rows(strategy, lengths, seq_len):
    if sum(lengths):
        check(lengths, seq_len, strategy)


@pytest.mark.parametrize("strategy", LAYOUTS)
def test_the_same_rows_of_lengths_as_in_web_text(strategy):
    """Ten thousand documents, with many ties."""
    lengths = np.random.default_rng(0).lognormal(4.8, 1.6, 10_000).astype(int) + 1
    check(lengths.tolist(), 512, strategy)


@pytest.mark.parametrize("strategy", LAYOUTS)
def test_built_examples_are_trls_rows(tmp_path, strategy):
    lengths = np.random.default_rng(1).lognormal(3.5, 1.2, 300).astype(int) + 1
    texts = built.name_tokens(lengths.tolist())
    dataset = built.build(tmp_path, [built.text(tokens) for tokens in texts], {"seq_len": 64, **PACKING[strategy]})
    theirs, segments = pack(texts, 64, strategy)
    ours = built.rows(dataset)
    assert sorted(ours) == sorted(theirs)  # a build shuffles the examples of a group
    if segments is not None:
        expected = {row[0]: lengths for row, lengths in zip(theirs, segments, strict=True)}  # by first token, which is in no other row
        for i, row in enumerate(ours):
            starts = np.union1d([0], np.flatnonzero(dataset[i]["document_starts"]))
            assert np.diff(starts, append=len(row)).tolist() == expected[row[0]]
