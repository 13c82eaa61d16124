"""fairseq's `_get_slice_indices_fast` (fairseq/data/token_block_utils_fast.pyx) and the layouts that cut streams and sentences.

`none` is `wrap`, and of a single document `wrap_within_document`; `complete` and `complete_doc` are `full_sentences`; `eos` is `pad`, with
a sentence for a document. One thing differs: fairseq makes a block of any size of a sentence over the block size, `full_sentences` cuts
it. Of the parts that it cuts, fairseq makes the same blocks.
"""

import itertools

import numpy as np
import pytest

from tests.oracles import built
from tokenreel.layouts import pad, wrap
from tokenreel.layouts.whole_sentences import full_sentences
from tokenreel.layouts.wrapping import wrap_within_document

CASES = built.vectors("fairseq")["cases"]
ALL = pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))


def whole(case):
    """The sentences of the stream, with the empty line that ends each document: fairseq's `sizes`."""
    return [size for document in case["documents"] for size in (*document, case["separator"])]


def ranges(layout, begins):
    """The part [begin, end) of the stream that each example holds; `begins` says where in it each document begins."""
    found = []
    for e in range(layout.num_examples):
        mine = layout.example == e
        at = begins[layout.document[mine]] + layout.start[mine]
        assert (at[1:] == at[:-1] + layout.length[mine][:-1]).all()
        found.append([int(at[0]), int(at[-1] + layout.length[mine][-1])])
    return found


def complete(case):
    sizes = whole(case)
    return ranges(full_sentences(sizes, [len(sizes)], case["block"]), np.zeros(1, np.int64))


def complete_doc(case):
    sentences = list(itertools.chain(*case["documents"]))
    layout = full_sentences(sentences, [len(d) for d in case["documents"]], case["block"], cross_documents=False, min_tokens=2)
    lengths = np.array([sum(document) for document in case["documents"]])
    begins = np.cumsum(lengths) - lengths + np.arange(len(lengths)) * case["separator"]
    return ranges(layout, begins)


def has_long(case):
    return max(itertools.chain(*case["documents"])) > case["block"]


def test_there_are_cases_of_every_kind():
    assert {(case["separator"], has_long(case)) for case in CASES} == set(itertools.product((0, 1), (False, True)))
    assert sum("complete_of_parts" in case for case in CASES) > 3
    # Blocks of one token, which both leave out.
    assert any(sum(map(sum, case["documents"])) > sum(b - a for a, b in case["complete_doc"]) for case in CASES)


@ALL
def test_none_is_wrap(case):
    layout = wrap(whole(case), case["block"], last_example="pad")
    assert ranges(layout, np.cumsum(whole(case)) - whole(case)) == case["none"]


@ALL
def test_none_of_one_document_is_wrap_within_document(case):
    if sum(whole(case)) > 0:
        layout = wrap_within_document([sum(whole(case))], case["block"])
        assert ranges(layout, np.zeros(1, np.int64)) == case["none"]


@ALL
def test_complete_is_full_sentences(case):
    if not has_long(case):
        assert complete(case) == case["complete"]
        assert complete_doc(case) == case["complete_doc"]


@ALL
def test_a_sentence_over_the_block_size_is_cut_where_fairseq_makes_a_longer_block(case):
    if not has_long(case):
        return
    for mode, ours in (("complete", complete(case)), ("complete_doc", complete_doc(case))):
        assert max(end - begin for begin, end in case[mode]) > case["block"]
        assert max(end - begin for begin, end in ours) == case["block"]
        if f"{mode}_of_parts" in case:
            assert ours == case[f"{mode}_of_parts"]


@ALL
def test_eos_is_a_sentence_in_each_example(case):
    sizes = np.array(whole(case))
    layout = pad(sizes, int(sizes.max()))
    assert ranges(layout, np.cumsum(sizes) - sizes) == [block for block in case["eos"] if block[1] > block[0]]


@pytest.mark.parametrize("mode", ["complete", "complete_doc"])
def test_built_examples_are_fairseqs_blocks(tmp_path, mode):
    # A letter is a token, and a line a sentence with its newline; builds leave out lines without letters. An empty line that ends a
    # document is nothing to ours, so a stream that crosses documents may have none.
    fitting = (c for c in CASES if not has_long(c) and c["separator"] == (mode == "complete_doc") and min(map(min, c["documents"])) > 1)
    case = max(fitting, key=lambda c: len(c[mode]))
    letters = np.random.default_rng(0).integers(ord("a"), ord("z") + 1, sum(whole(case)))
    ends = np.cumsum(whole(case))
    letters[ends[np.array(whole(case)) > 0] - 1] = ord("\n")
    sentences = iter(np.split(letters, ends[:-1]))
    documents = []
    for document in case["documents"]:
        documents.append("".join(map(chr, np.concatenate([next(sentences) for _ in document]))))
        next(sentences)  # the empty line
    options = {"cross_documents": mode == "complete", "min_tokens": 2 if mode == "complete_doc" else 1}
    packing = {"mode": "full_sentences", "seq_len": case["block"], "sentences": "newline", "options": options}
    dataset = built.build(tmp_path, documents, packing, vocabulary={"kind": "bytes"})
    ids = letters + dataset.vocabulary().encode("a")[0] - ord("a")
    # A build shuffles the examples of a group.
    assert sorted(built.rows(dataset)) == sorted(ids[begin:end].tolist() for begin, end in case[mode])
