"""T5's steps (the package `t5`: data/preprocessors.py) and ours: from the same seeds, the same examples.

What differs is told beside each test: where T5's own answer is wrong, ours is T5's with `compat="seqio"`.
"""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest

from tests.oracles.test_t5 import original
from tokenreel.tasks import ExampleStream, Feature, map_seed_manager, t5_preprocessors
from tokenreel.tasks.vocabularies import PassThroughVocabulary

pytestmark = pytest.mark.oracles

VOCABULARY = PassThroughVocabulary(1000, eos_id=1)
FEATURES = {"inputs": Feature(VOCABULARY), "targets": Feature(VOCABULARY)}
MASKS = ["iid_noise_mask", "regular_noise_mask", "random_spans_noise_mask", "random_prefix_noise_mask"]
NOISE = [
    "noise_token_to_sentinel",
    "noise_span_to_sentinel",
    "nonnoise_span_to_sentinel",
    "noise_span_to_unique_sentinel",
    "nonnoise_span_to_unique_sentinel",
    "drop_noise_tokens",
    "drop_nonnoise_tokens",
    "permute_noise_tokens",
    "noise_token_to_gathered_token",
    "noise_token_to_random_token",
    "noise_token_to_random_token_or_sentinel",
]


def theirs(name: str):
    """T5's function."""
    return getattr(original(), name)


def draw_seeds(rng: random.Random, count: int) -> np.ndarray:
    return np.array([[rng.randrange(2**31), rng.randrange(2**31)] for _ in range(count)], dtype=np.int64)


def tensors(seeds: np.ndarray) -> list:
    import tensorflow as tf

    return tf.unstack(tf.constant(seeds))


def equal(ours, expected) -> None:
    expected = expected.numpy()
    assert np.array_equal(ours, expected) and np.asarray(ours).dtype == expected.dtype, (ours, expected)


@pytest.mark.parametrize("name", MASKS)
def test_masks(name) -> None:
    rng = random.Random(name)
    for _ in range(60):
        length, density, seeds = rng.randrange(1, 600), rng.choice([0.05, 0.15, 0.3, 0.5]), draw_seeds(rng, 2)
        more = {"random_roll": rng.random() < 0.5, "mean_noise_span_length": rng.choice([2.0, 3.0, 8.0])} if "spans" in name else {}
        expected = theirs(name)(length, density, seeds=tensors(seeds), **more)
        equal(getattr(t5_preprocessors, name)(length, density, seeds=seeds, **more), expected)


@pytest.mark.parametrize("length", [190, 350, 390, 670, 710])
def test_masks_where_the_exact_product_is_a_tie(length) -> None:
    seeds = np.array([[1, 2], [3, 4]])
    equal(t5_preprocessors.random_spans_noise_mask(length, 0.15, seeds), theirs("random_spans_noise_mask")(length, 0.15, tensors(seeds)))


@pytest.mark.parametrize("name", NOISE)
def test_what_stands_for_noise(name) -> None:
    import tensorflow as tf

    rng = random.Random(name)
    for _ in range(30):
        length = rng.randrange(1, 40)
        tokens = np.array([rng.randrange(1000) for _ in range(length)], np.int32)
        mask, seeds = np.array([rng.random() < 0.4 for _ in range(length)]), draw_seeds(rng, 2)
        expected = theirs(name)(tf.constant(tokens), tf.constant(mask), VOCABULARY, seeds=tensors(seeds))
        equal(getattr(t5_preprocessors, name)(tokens, mask, VOCABULARY, seeds=seeds), expected)


def test_single_examples() -> None:
    import tensorflow as tf

    rng = random.Random(3)
    for _ in range(40):
        example = {"targets": np.arange(rng.randrange(1, 300), dtype=np.int32), "id": np.int32(7)}
        given = {name: tf.constant(value) for name, value in example.items()}
        (seed,) = draw_seeds(rng, 1)
        chunk = {"output_features": FEATURES, "max_length": rng.randrange(8, 80), "passthrough_feature_keys": ["id"]}
        chunk |= rng.choice([{}, {"uniform_random_start": True}, {"min_length": 4}])
        expected = theirs("single_example_select_random_chunk")(given, tf.constant(seed), **chunk)
        made = t5_preprocessors.single_example_select_random_chunk(example, seed, **chunk)
        assert made.keys() == expected.keys()
        equal(made["targets"], expected["targets"])
        how = {"output_features": FEATURES, "noise_density": 0.15, "passthrough_feature_keys": ["id"]}
        names = {"noise_mask_fn": rng.choice(MASKS), "inputs_fn": rng.choice(NOISE), "targets_fn": rng.choice(NOISE)}
        expected = theirs("single_example_denoise")(given, tf.constant(seed), **how, **{key: theirs(name) for key, name in names.items()})
        ours = {key: getattr(t5_preprocessors, name) for key, name in names.items()}
        made = t5_preprocessors.single_example_denoise(example, seed, **how, **ours)
        assert made.keys() == expected.keys()
        for name in ("inputs", "targets"):
            equal(made[name], expected[name])


LENGTHS = {"inputs": 24, "targets": 24}


def documents(seed: int, smallest: int = 0) -> list[np.ndarray]:
    """Texts of ids from 2 on, some empty."""
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 900, rng.integers(smallest, 120)).astype(np.int32) for _ in range(40)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("select_random_chunk", {"output_features": FEATURES, "max_length": 16}),
        ("reduce_concat_tokens", {"batch_size": 7}),
        ("split_tokens", {"max_tokens_per_segment": 10}),
        ("split_tokens", {"min_tokens_per_segment": 3, "max_tokens_per_segment": 30}),
        ("split_tokens_to_inputs_length", {"output_features": FEATURES, "sequence_length": LENGTHS}),
        ("split_tokens_to_targets_length", {"output_features": FEATURES, "sequence_length": LENGTHS}),
        ("split_tokens_to_random_length", {"output_features": FEATURES, "sequence_length": LENGTHS}),
        ("concatenate_and_split_to_fixed_length", {"output_features": FEATURES, "sequence_length": LENGTHS}),
        ("span_corruption", {"output_features": FEATURES, "sequence_length": LENGTHS}),
        ("span_corruption", {"output_features": FEATURES, "sequence_length": LENGTHS, "merge_examples_to_reduce_padding": False}),
        ("iid_denoising", {"output_features": FEATURES, "sequence_length": LENGTHS}),
        ("prefix_lm", {"output_features": FEATURES, "sequence_length": LENGTHS}),
        ("full_lm", {"output_features": FEATURES, "sequence_length": LENGTHS}),
        ("trim_tokens_at_front", {"sequence_length": LENGTHS}),
        ("targets_for_prefix_lm_objective", {"output_features": FEATURES, "sequence_length": LENGTHS}),
    ],
)
def test_whole_steps_with_the_seeds_of_seqio(name, arguments) -> None:
    step = theirs(name)  # first: `original` keeps SeqIO from a module that cannot be imported beside TensorFlow
    import seqio
    import tensorflow as tf

    texts = documents(len(name))
    dataset = tf.data.Dataset.from_generator(
        lambda: ({"targets": text} for text in texts), output_signature={"targets": tf.TensorSpec([None], tf.int32)}
    )
    with seqio.utils.map_seed_manager(initial_seed=42):
        expected = list(step(dataset, **arguments).as_numpy_iterator())
    with map_seed_manager(42, compat="seqio"):
        made = list(getattr(t5_preprocessors, name)(ExampleStream.from_examples([{"targets": text} for text in texts]), **arguments))
    assert len(made) == len(expected) > 3
    for ours, example in zip(made, expected, strict=True):
        assert ours.keys() == example.keys()
        for feature, values in example.items():
            assert np.array_equal(ours[feature], values) and ours[feature].dtype == values.dtype


@pytest.mark.parametrize("name", ["pack_prefix_lm_decoder_only", "pack_prefix_lm_encoder_decoder"])
def test_packed_prefixes_with_the_seeds_of_seqio(name) -> None:
    step = theirs(name)
    import seqio
    import tensorflow as tf

    rows = [{"targets": np.pad(text[:24], (0, 24 - len(text[:24])))} for text in documents(1)]
    dataset = tf.data.Dataset.from_generator(lambda: iter(rows), output_signature={"targets": tf.TensorSpec([24], tf.int32)})
    with seqio.utils.map_seed_manager(initial_seed=7):
        expected = list(step(dataset, LENGTHS).as_numpy_iterator())
    with map_seed_manager(7, compat="seqio"):
        made = list(getattr(t5_preprocessors, name)(ExampleStream.from_examples(rows), LENGTHS))
    assert len(made) == len(expected) > 3
    for ours, example in zip(made, expected, strict=True):
        assert ours.keys() == example.keys()
        for feature, values in example.items():
            assert np.array_equal(ours[feature], values) and ours[feature].dtype == values.dtype, feature


def test_the_helper_rounds_as_theirs_with_compat() -> None:
    for inputs in range(16, 1200, 7):
        for density, mean in ((0.15, 3.0), (0.3, 3.0), (0.5, 3.0), (0.2, 1.0)):
            arguments = (inputs, density, mean, 1, 1)
            assert t5_preprocessors.random_spans_helper(*arguments, compat="seqio") == theirs("random_spans_helper")(*arguments)


def test_a_function_of_tensors_makes_noise_too() -> None:
    stream = ExampleStream.from_examples([{"targets": np.arange(40, dtype=np.int32)}])
    made = []
    for functions in (t5_preprocessors, original()):
        mask = functools.partial(functions.random_spans_noise_mask, mean_noise_span_length=3.0)
        step = t5_preprocessors.denoise(
            stream, FEATURES, noise_density=0.15, noise_mask_fn=mask, inputs_fn=functions.noise_span_to_unique_sentinel
        )
        made.append(next(iter(step))["inputs"])
    assert made[0].tolist() == made[1].tolist()
