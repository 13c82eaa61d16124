"""Megatron-LM's `build_sample_idx` (megatron/core/datasets/helpers.cpp) and `wrap`: the same samples begin at the same tokens.

Two things differ, neither in what a sample holds. Where a sample ends with a document and repeats no token, Megatron's next one begins at
that document's end, ours at the next document's first token: the same place of the stream. And where the last sample is kept, Megatron
counts samples in a float of 24 bits.
"""

import itertools

import numpy as np
import pytest

from tests.oracles import built
from tokenreel.layouts import wrap

CASES = built.vectors("megatron")["cases"]
EXACT = [case for case in CASES if sum(case["sizes"]) * case["epochs"] < 2**24]


def lay_out(case):
    lengths = np.array(case["sizes"])[case["order"]]
    return lengths, wrap(lengths, case["seq_len"], case["extra"], last_example="drop" if case["drop_last"] else "pad")


def test_there_are_cases_of_every_kind():
    assert len(EXACT) == 80
    assert {(case["drop_last"], case["extra"], 0 in case["sizes"]) for case in EXACT} == set(itertools.product((False, True), repeat=3))
    assert {case["epochs"] for case in EXACT} == {1, 2, 3}


@pytest.mark.parametrize("case", EXACT, ids=range(len(EXACT)))
def test_samples_are_the_same(case):
    lengths, layout = lay_out(case)
    index = np.array(case["index"])
    assert layout.num_examples == len(index) - 1
    begins = np.append(0, np.cumsum(lengths))
    places = begins[index[:, 0]] + index[:, 1]  # in the stream
    heads = np.flatnonzero(np.diff(layout.example, prepend=-1))
    assert places[:-1].tolist() == (begins[layout.document] + layout.start)[heads].tolist()
    stops = np.cumsum(layout.num_tokens()) - np.arange(layout.num_examples) * case["extra"]
    assert places[1:].tolist() == (stops - case["extra"]).tolist()
    if case["extra"]:  # the document too; of the first sample Megatron names the first document, even if it is empty
        assert index[1:-1].tolist() == np.stack([layout.document, layout.start], axis=1)[heads[1:]].tolist()


def test_a_last_sample_that_megatron_loses_in_a_float_is_kept():
    (case,) = (case for case in CASES if case not in EXACT)
    _, layout = lay_out(case)
    assert (len(case["index"]) - 1, layout.num_examples) == (4, 5)
    assert layout.num_tokens()[-1] == 2  # the last token, and the one before it that it is predicted from


@pytest.mark.parametrize("drop_last", [True, False])
def test_built_examples_are_megatrons_samples(tmp_path, drop_last):
    case = max((c for c in EXACT if c["drop_last"] == drop_last and c["extra"]), key=lambda c: len(c["index"]))
    lengths, _ = lay_out(case)
    documents = built.name_tokens(lengths)
    packing = {"seq_len": case["seq_len"], "overlap": 1, "last_example": "drop" if drop_last else "pad"}
    dataset = built.build(tmp_path, [built.text(tokens) for tokens in documents if len(tokens)], packing)
    places = np.append(0, np.cumsum(lengths))[np.array(case["index"])[:, 0]] + np.array(case["index"])[:, 1]
    stream = np.concatenate(documents)
    assert built.rows(dataset) == [stream[begin : end + 1].tolist() for begin, end in itertools.pairwise(places)]
