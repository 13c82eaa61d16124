"""T5's span corruption (the package `t5`: data/preprocessors.py) and ours.

Given the same mask, inputs and targets are equal; noise and spans are as many, and examples hold as many raw tokens. Four things differ,
as docs/objectives.md tells: T5 multiplies in 32 bits, where ties round otherwise; its search for the raw length counts no span at lengths
where its mask has one; at density 0.5 it takes a token less; and where noise begins an example, its targets lose a sentinel.
"""

import functools
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import built
from tests.strategies import SEEDS
from tokenreel.objectives import make_objective
from tokenreel.objectives.noise import noise_counts, output_lengths, solve_raw_length
from tokenreel.objectives.span_corruption import SpanCorruption

pytestmark = pytest.mark.oracles

VOCAB, EOS = 1000, 1
DENSITIES = pytest.mark.parametrize(("density", "mean_span"), [(0.15, 3.0), (0.15, 8.0), (0.3, 3.0), (0.5, 3.0), (0.5, 32.0), (0.15, 64.0)])


@functools.cache
def original():
    """`t5.data.preprocessors`."""
    # SeqIO asks for SentencePiece's protocol buffers, which are of a newer release than TensorFlow's. Nothing here reads a model.
    sys.modules.setdefault("sentencepiece.sentencepiece_model_pb2", mock.MagicMock())
    from t5.data import preprocessors

    return preprocessors


class Vocabulary:
    """What T5 asks of one: sentinels begin with the last id."""

    def __init__(self, vocab_size):
        self.vocab_size = vocab_size


def corrupt(tokens, noise, vocab_size=VOCAB):
    """T5's inputs and targets, with the eos that SeqIO appends."""
    import tensorflow as tf

    vocabulary, arguments = Vocabulary(vocab_size), (tf.constant(tokens, tf.int32), tf.constant(noise))
    inputs = original().noise_span_to_unique_sentinel(*arguments, vocabulary, None)
    targets = original().nonnoise_span_to_unique_sentinel(*arguments, vocabulary, None)
    return [*inputs.numpy().tolist(), EOS], [*targets.numpy().tolist(), EOS]


def read_mask(inputs, targets, first_sentinel):
    """The raw tokens of an example of ours, and which of them are noise, from inputs and targets without eos."""
    spans = []
    for token in targets:
        if token == first_sentinel - len(spans):
            spans.append([])
        else:
            spans[-1].append(token)
    tokens, noise = [], []
    for token in inputs:
        span = first_sentinel - token
        hidden = spans[span] if 0 <= span < len(spans) else None
        tokens += [token] if hidden is None else hidden
        noise += [False] if hidden is None else [True] * len(hidden)
    return np.array(tokens), np.array(noise)


@functools.cache
def traced(density, mean_span):
    """`random_spans_noise_mask`, traced once for all lengths: one by one, each would take a tenth of a second."""
    import tensorflow as tf

    return tf.function(
        lambda length, seeds: original().random_spans_noise_mask(length, density, tf.unstack(seeds), mean_span),
        input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([2, 2], tf.int32)],
    )


def masks(lengths, density, mean_span):
    """T5's masks of some lengths."""
    mask = traced(density, mean_span)
    return [mask(np.int32(length), np.array([[length, 1], [length, 2]], np.int32)).numpy() for length in lengths]


@DENSITIES
def test_as_many_tokens_of_noise_and_spans(density, mean_span):
    """At all lengths from 2 to 1,200, but for ties: there T5's product in 32 bits falls on either side."""
    lengths = np.arange(2, 1200)
    noise, spans = noise_counts(lengths, density, mean_span)
    found = masks(lengths, density, mean_span)
    theirs = np.array([mask.sum() for mask in found])
    their_spans = np.array([np.count_nonzero(np.diff(mask.astype(int), prepend=0) == 1) for mask in found])
    ties = np.isclose(lengths * density % 1, 0.5, atol=1e-6)
    other = noise != theirs
    assert not (other & ~ties).any()
    assert np.abs(noise - theirs).max() <= 1 and np.count_nonzero(other) <= 30
    assert spans[~other].tolist() == their_spans[~other].tolist()


def test_ties_that_t5_rounds_otherwise_are_those_of_the_docs():
    lengths = np.arange(2, 700)
    theirs = np.array([mask.sum() for mask in masks(lengths, 0.15, 3.0)])
    assert lengths[noise_counts(lengths, 0.15, 3.0)[0] != theirs].tolist() == [190, 350, 390, 670]


@DENSITIES
def test_examples_hold_as_many_raw_tokens(density, mean_span):
    """For all inputs from 16 to 2,048 positions: `random_spans_helper` gives raw tokens and targets."""
    for inputs in range(16, 2049):
        raw, targets = original().random_spans_helper(inputs, density, mean_span, 1, 1)
        ours = solve_raw_length(inputs, None, density, mean_span)
        made = [int(some[0]) for some in output_lengths([ours], density, mean_span)]
        if round(round(raw * density) / mean_span) < 1:  # T5 leaves no room for the span that its mask has at least
            assert raw == ours or output_lengths([raw], density, mean_span)[0] > inputs, inputs
        elif density == 0.5 and made[1] > made[0]:  # T5's shortening
            assert (raw, targets) == (ours - 1, made[1] - 1), inputs
        else:
            assert (raw, targets) == (ours, made[1]), inputs


@settings(max_examples=60)
@given(length=st.integers(4, 300), density=st.sampled_from([0.15, 0.3, 0.5]), mean_span=st.sampled_from([2.0, 3.0, 8.0]), seed=SEEDS)
def test_the_same_mask_gives_the_same_inputs_and_targets(length, density, mean_span, seed):
    """T5's mask, in our code: where every example begins with text and ends with noise, as both make them."""
    (noise,) = masks([length], density, mean_span)
    tokens = np.random.default_rng(seed).integers(2, 800, length)
    ours = SpanCorruption(seq_len=2 * length + 8, vocab_size=VOCAB, eos_id=EOS, num_sentinels=100 + length, density=density)
    made = ours._split(tokens[None, :], noise[None, :], np.array([length]))
    found = [made[name][0][: made[f"num_{name}"][0]].tolist() for name in ("inputs", "targets")]
    assert tuple(found) == corrupt(tokens, noise)


@settings(max_examples=30)
@given(num_tokens=st.lists(st.integers(2, 143), min_size=1, max_size=6), seed=SEEDS)
def test_our_mask_gives_t5_the_same_inputs_and_targets(num_tokens, seed):
    """Full and short examples, through the whole objective."""
    ours = make_objective("t5", seq_len=128, vocabulary={"vocab_size": VOCAB, "eos_id": EOS, "pad_id": 0})
    width = ours.raw_length()
    counts = np.minimum(num_tokens, width)
    tokens = np.random.default_rng(seed).integers(2, 800, (len(counts), width))
    tokens[np.arange(width) >= counts[:, None]] = 0
    made = ours.apply({"tokens": tokens, "num_tokens": counts}, np.arange(len(counts)), seed=seed)
    for row, count in enumerate(counts):
        inputs, targets = (made[name][row][: made[f"num_{name}"][row]].tolist() for name in ("inputs", "targets"))
        raw, noise = read_mask(inputs[:-1], targets[:-1], VOCAB - 1)
        assert raw.tolist() == tokens[row][:count].tolist()
        assert (inputs, targets) == corrupt(raw, noise)


def test_rolled_noise_keeps_a_sentinel_before_each_span():
    """T5 puts sentinels on stretches of text: where noise begins the example, its targets lose the first and have one at the end."""
    tokens, noise = np.arange(10, 18), np.array([1, 1, 0, 0, 0, 1, 0, 0], bool)
    ours = SpanCorruption(seq_len=20, vocab_size=VOCAB, eos_id=EOS, targets_length=10)
    made = ours._split(tokens[None, :], noise[None, :], np.array([8]))
    inputs, targets = (made[name][0][: made[f"num_{name}"][0]].tolist() for name in ("inputs", "targets"))
    assert inputs == corrupt(tokens, noise)[0] == [999, 12, 13, 14, 998, 16, 17, EOS]
    assert targets == [999, 10, 11, 998, 15, EOS]
    assert corrupt(tokens, noise)[1] == [10, 11, 999, 15, 998, EOS]


def test_built_examples_are_t5s(tmp_path):
    """What a build stores, corrupted again by T5 from the raw tokens: every example, with the counts and lengths that T5 plans."""
    sizes = np.random.default_rng(2).integers(5, 400, 60)
    texts = [built.text(tokens) for tokens in built.name_tokens(sizes.tolist())]
    dataset = built.build(
        tmp_path, texts, {"seq_len": 128, "last_example": "pad"}, objective={"name": "t5", "first_sentinel_id": built.VOCAB_SIZE - 1}
    )
    raw, targets_length = original().random_spans_helper(128, 0.15, 3.0, 1, 1)
    examples = [dataset[i] for i in range(len(dataset))]
    assert {len(example["inputs"]) for example in examples} == {128} and {len(example["targets"]) for example in examples} == {
        targets_length
    }
    seen = []
    for example in examples:
        inputs, targets = (example[name][: int(example[f"num_{name}"])].tolist() for name in ("inputs", "targets"))
        tokens, noise = read_mask(inputs[:-1], targets[:-1], built.VOCAB_SIZE - 1)
        assert (inputs, targets) == corrupt(tokens, noise, built.VOCAB_SIZE)
        (mask,) = masks([len(tokens)], 0.15, 3.0)
        assert noise.sum() == mask.sum() and np.diff(noise.astype(int)).tolist().count(1) == np.diff(mask.astype(int)).tolist().count(1)
        seen.append(tokens)
    assert [len(tokens) for tokens in seen[:-1]] == [raw] * (len(seen) - 1)
    assert np.concatenate(seen).tolist() == list(range(10, 10 + int(sizes.sum())))
