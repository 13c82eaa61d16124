"""Well-known recipes from documents to what a model reads: packing and objective fit together, and nothing that matters is lost between."""

import numpy as np
import pytest

from tokenreel import keys
from tokenreel.curation import sentences
from tokenreel.format import segments
from tokenreel.layouts import bin_packing, filling, modes, segment_pairs, wrapping
from tokenreel.objectives.registry import make_objective

VOCAB = 30_000
FACTS = {"vocab_size": VOCAB, "pad_id": 0, "eos_id": 1, "mask_id": 2, "special_ids": [1, 3, 4], "num_sentinels": 140}
CLS, SEP, NEWLINE = 3, 4, 5
WORD_STARTS = np.arange(VOCAB) % 3 > 0


@pytest.fixture(scope="module")
def corpus():
    """200 documents of sentences that end with a newline, each document ended by eos: tokens, offsets."""
    rng = np.random.default_rng(0)
    documents = []
    for _ in range(200):
        sizes = rng.integers(4, 40, rng.integers(1, 25))
        text = [t for size in sizes for t in [*rng.integers(6, 29_000, size - 1).tolist(), NEWLINE]]
        documents.append([*text, 1])
    return np.array([t for d in documents for t in d], np.uint16), np.cumsum([0, *map(len, documents)])


def examples(corpus, width, **settings):
    tokens, offsets = corpus
    lengths = np.diff(offsets)
    layout = modes.lay_out(lengths, seq_len=width - settings.get("overlap", 0), **settings)
    filled, starts, num_tokens = filling.fill(tokens, offsets[:-1], layout, width, 0)
    return layout, {"tokens": filled, "document_starts": starts, "num_tokens": num_tokens}


def test_gpt2(corpus):
    layout, arrays = examples(corpus, 257, mode="wrap", overlap=1)
    made = make_objective("causal_lm", seq_len=256, vocabulary=FACTS).apply(arrays, np.arange(layout.num_examples), seed=0)
    weights = segments.next_token_weights(segments.segment_ids(made["document_starts"]), across_documents=True)[:, :-1]
    assert weights.shape == made["tokens"][:, 1:].shape and weights.all()


def test_roberta(corpus):
    tokens, offsets = corpus
    lengths, counts = sentences.lengths_in_tokens(tokens, offsets, [NEWLINE])
    layout = modes.lay_out(counts, mode="full_sentences", seq_len=126, sentences=lengths)
    filled = filling.frame(*filling.fill(tokens, offsets[:-1], layout, 126, 0), first_id=CLS, last_id=SEP)
    arrays = dict(zip(("tokens", "document_starts", "num_tokens"), filled, strict=True))
    objective = make_objective("roberta", seq_len=128, vocabulary=FACTS)
    made = objective.apply(arrays, np.arange(len(filled[0])), seed=0)
    assert (made["tokens"][:, 0] == CLS).all() and (made["tokens"] == SEP).sum() == len(filled[0])
    assert (objective.restore(made) == filled[0]).all()
    per_example = made["mask_weights"].sum(axis=1)
    assert (np.abs(per_example - 0.15 * filled[2]) < 1).all()


@pytest.mark.parametrize("task", ["next_sentence", "sentence_order"])
def test_bert_and_albert(corpus, task):
    tokens, offsets = corpus
    lengths, counts = sentences.lengths_in_tokens(tokens, offsets, [NEWLINE])
    pairs = segment_pairs.plan(lengths, counts, np.arange(200), 128, seed=0, task=task)
    arrays = segment_pairs.fill(tokens, offsets[:-1], pairs, 128, first_id=CLS, separator_id=SEP, pad_id=0)
    name, settings = ("bert", {}) if task == "next_sentence" else ("ngram_lm", {"max_unit": 3})
    objective = make_objective(name, seq_len=128, vocabulary={**FACTS, "word_starts": WORD_STARTS}, max_predictions=20, **settings)
    made = objective.apply(arrays, np.arange(len(pairs)), seed=0)
    assert {"segment_ids", "pair_label", "num_tokens"} <= set(made) and made["mask_ids"].shape == (len(pairs), 20)
    assert (made["tokens"][:, 0] == CLS).all() and ((made["tokens"] == SEP).sum(axis=1) == 2).all()
    assert not np.isin(made["mask_ids"][made["mask_weights"] == 1], [0, CLS, SEP]).any()


def test_spanbert(corpus):
    layout, arrays = examples(corpus, 256, mode="best_fit")
    objective = make_objective("spanbert", seq_len=256, vocabulary={**FACTS, "word_starts": WORD_STARTS})
    made = objective.apply(arrays, np.arange(layout.num_examples), seed=0)
    ids = segments.segment_ids(arrays["document_starts"], arrays["num_tokens"])
    row, slot = np.nonzero(made["boundary_weights"])
    own = ids[row, made["mask_positions"][row, slot]]
    for side in ("boundary_left", "boundary_right"):  # boundary tokens are of the same document as what they frame
        np.testing.assert_array_equal(ids[row, made[side][row, slot]], own)
    assert len(row) > 0.7 * made["mask_weights"].sum()


def test_electra(corpus):
    layout, arrays = examples(corpus, 128, mode="best_fit", max_segments=8)
    objective = make_objective("electra", seq_len=128, vocabulary=FACTS)
    made = objective.apply(arrays, np.arange(layout.num_examples), seed=0)
    assert made["mask_positions"].shape == (layout.num_examples, 19) and layout.num_segments().max() <= 8


def test_t5(corpus):
    objective = make_objective("t5", seq_len=256, vocabulary=FACTS)
    assert objective.raw_length() == 284
    layout, arrays = examples(corpus, 284, mode="wrap")
    made = objective.apply(arrays, np.arange(layout.num_examples), seed=0)
    assert (made["num_inputs"] == 256).all() and (made["num_targets"] == 58).all()
    assert (objective.restore(made) == arrays["tokens"]).all()


def test_ul2(corpus):
    tokens, offsets = corpus
    objective = make_objective("ul2", seq_len=256, vocabulary=FACTS, r_id=6, s_id=7, x_id=8)
    raw = objective.raw_lengths(np.arange(1000), seed=9)
    cuts = np.append(0, np.cumsum(raw))
    cuts = cuts[: int(np.searchsorted(cuts, len(tokens), side="right"))]
    layout = wrapping.wrap_cuts(np.diff(offsets), 0, cuts)
    filled, starts, num_tokens = filling.fill(tokens, offsets[:-1], layout, objective.raw_length(), 0)
    arrays = {"tokens": filled, "document_starts": starts, "num_tokens": num_tokens}
    made = objective.apply(arrays, np.arange(layout.num_examples), seed=9)
    assert (made["num_inputs"] == 256).all() and objective.statistics(arrays, made)["cropped_tokens"] == 0
    # Any part of the stream, laid out alone, is that part.
    first = layout.num_examples // 2
    at = int(np.searchsorted(offsets, cuts[first], side="right")) - 1
    part = wrapping.wrap_cuts(np.diff(offsets[at:]), int(offsets[at]), cuts[first:])
    again, _, _ = filling.fill(tokens, offsets[at:-1], part, objective.raw_length(), 0)
    np.testing.assert_array_equal(again, filled[first:])


def test_fill_in_the_middle(corpus):
    tokens, offsets = corpus
    objective = make_objective("fill_in_the_middle", seq_len=512, vocabulary=FACTS, prefix_id=29_001, suffix_id=29_002, middle_id=29_003)
    ids = np.arange(200)
    lengths = objective.document_lengths(np.diff(offsets), ids, seed=0)
    new, new_offsets = objective.rearrange(tokens, offsets, ids, seed=0)
    layout = bin_packing.best_fit(lengths, 512)
    filled, starts, num_tokens = filling.fill(new, new_offsets[:-1], layout, 512, 0)
    piece = segments.segment_ids(starts, num_tokens)
    # A document that fits keeps its three sentinels in one example.
    for sentinel in (29_002, 29_003):
        row, at = np.nonzero(filled == sentinel)
        kept = lengths[layout.document] <= 512
        whole = {(int(e), int(s)) for e, s in zip(layout.example[kept], piece[layout.example, layout.place][kept], strict=True)}
        prefixes = {(int(r), int(piece[r, a])) for r, a in zip(*np.nonzero(filled == 29_001), strict=True)}
        assert {(int(r), int(piece[r, a])) for r, a in zip(row, at, strict=True)} & whole == prefixes & whole


def test_characters():
    characters = [None] * 4 + [chr(c) for c in range(32, 127)]
    facts = {"vocab_size": 99, "pad_id": 0, "mask_id": 1, "special_ids": [2, 3], "characters": characters}
    lengths = 20 + keys.below(keys.bits(0, "lengths", np.arange(100), 1)[:, 0], 300)
    tokens = 4 + keys.below(keys.bits(0, "text", np.arange(int(lengths.sum())), 1)[:, 0], 95).astype(np.uint16)
    layout = bin_packing.best_fit(lengths, 256, align=4)
    filled, starts, num_tokens = filling.fill(tokens, np.cumsum(lengths) - lengths, layout, 256, 0)
    objective = make_objective("character_denoising", seq_len=256, vocabulary=facts)
    objective.check_packing(mode="best_fit", align=4)
    made = objective.apply({"tokens": filled, "document_starts": starts, "num_tokens": num_tokens}, np.arange(layout.num_examples), seed=0)
    ids = segments.segment_ids(starts, num_tokens, align=4)
    assert (made["target_weights"][ids == 0] == 0).all()
    # Pooling by four never mixes documents: each group of four positions is of one document, or of it and padding.
    groups = ids.reshape(len(ids), -1, 4)
    assert ((groups == groups.max(axis=2, keepdims=True)) | (groups == 0)).all()
