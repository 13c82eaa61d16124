"""T5's masks and what stands for noise; the values are those of T5's code, run with the same seeds."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tokenreel.tasks import t5_noise
from tokenreel.tasks.vocabularies import PassThroughVocabulary

SEEDS = [(1, 2), (3, 4)]
VOCABULARY = PassThroughVocabulary(1000)
TOKENS = np.arange(10, 16, dtype=np.int32)
MASK = np.array([True, True, False, False, True, False])


def noise(mask) -> list[int]:
    return np.flatnonzero(mask).tolist()


def test_random_spans() -> None:
    spans = t5_noise.random_spans_noise_mask
    assert noise(spans(32, 0.25, SEEDS, mean_noise_span_length=2.0)) == [6, 7, 8, 10, 11, 12, 28, 31]
    made = [spans(length, 0.15, SEEDS).astype(int).tolist() for length in (1, 2, 3, 5)]
    assert made == [[0], [0, 1], [0, 0, 1], [0, 0, 0, 0, 1]]
    assert noise(spans(20, 0.0, SEEDS)) == [] and spans(0, 0.15, SEEDS).shape == (0,)
    rolled = spans(32, 0.25, SEEDS, mean_noise_span_length=2.0, random_roll=True)
    assert rolled.sum() == 8 and any(np.array_equal(rolled, np.roll(spans(32, 0.25, SEEDS, 2.0), by)) for by in range(1, 32))


@pytest.mark.parametrize(
    ("text", "noise_lengths", "mask"),
    [([2, 1], [1, 2], "001011"), ([1], [1], "01"), ([1, 1, 1], [3, 1, 1], "01110101")],
)
def test_the_mask_of_given_lengths(monkeypatch, text, noise_lengths, mask) -> None:
    assert "".join(map(str, t5_noise.alternate(text, noise_lengths).astype(int))) == mask
    lengths = {tuple(SEEDS[0]): noise_lengths, tuple(SEEDS[1]): text}
    monkeypatch.setattr(t5_noise, "_random_lengths", lambda total, parts, seed: np.array(lengths[tuple(seed)]))
    density, mean = sum(noise_lengths) / len(mask), sum(noise_lengths) / len(text)
    assert "".join(map(str, t5_noise.random_spans_noise_mask(len(mask), density, SEEDS, mean).astype(int))) == mask


def test_counts_are_rounded_as_in_float32() -> None:
    ties = [190, 350, 390, 670, 710]
    exact = [round(length * 15 / 100) for length in ties]
    assert [t5_noise.noise_counts(length, 0.15, 3.0)[0] for length in ties] == [29, 53, 59, 101, 107] != exact
    assert t5_noise.noise_counts(95, 0.3, 3.0)[0] == 29
    assert [t5_noise.noise_counts(length, 0.15, 3.0) for length in (7, 10, 17, 50, 568, 1024)] == [
        (1, 1), (2, 1), (3, 1), (8, 3), (85, 28), (154, 51),
    ]  # fmt: skip
    assert t5_noise.noise_counts(10, 0.9, 1.0) == (9, 1)  # as many spans as there are tokens of text to stand before them


def test_lengths_are_uniform_compositions() -> None:
    drawn = [tuple(t5_noise._random_lengths(5, 3, (i, 7)).tolist()) for i in range(600)]
    assert {sum(lengths) for lengths in drawn} == {5} and set(drawn) == {(1, 1, 3), (1, 3, 1), (3, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1)}
    assert min(drawn.count(lengths) for lengths in set(drawn)) > 60


def test_other_masks() -> None:
    assert noise(t5_noise.regular_noise_mask(24, 0.25, SEEDS)) and t5_noise.iid_noise_mask(1000, 0.15, SEEDS).mean() == pytest.approx(
        0.15, abs=0.04
    )
    prefixes = [noise(t5_noise.random_prefix_noise_mask(6, 0.5, [(i, 1)])) for i in range(50)]
    assert {tuple(prefix) for prefix in prefixes} == {tuple(range(length)) for length in range(1, 6)}
    assert noise(t5_noise.random_prefix_noise_mask(1, 0.5, SEEDS)) == []
    with pytest.raises(NotImplementedError, match=r"must not exceed 0\.5"):
        t5_noise.random_prefix_noise_mask(6, 0.6, SEEDS)


@pytest.mark.parametrize(
    ("function", "tokens"),
    [
        ("noise_span_to_unique_sentinel", [999, 12, 13, 998, 15]),
        ("nonnoise_span_to_unique_sentinel", [10, 11, 999, 14, 998]),
        ("noise_span_to_sentinel", [999, 12, 13, 999, 15]),
        ("nonnoise_span_to_sentinel", [10, 11, 999, 14, 999]),
        ("noise_token_to_sentinel", [999, 999, 12, 13, 999, 15]),
        ("drop_noise_tokens", [12, 13, 15]),
        ("drop_nonnoise_tokens", [10, 11, 14]),
    ],
)
def test_what_stands_for_noise(function, tokens) -> None:
    made = getattr(t5_noise, function)(TOKENS, MASK, VOCABULARY, SEEDS)
    assert made.tolist() == tokens and made.dtype == np.int32


def test_random_tokens_stand_for_noise_alone() -> None:
    tokens, mask = np.arange(100, 600, dtype=np.int32), np.arange(500) % 3 == 0
    made = {}
    for name in (
        "permute_noise_tokens",
        "noise_token_to_gathered_token",
        "noise_token_to_random_token",
        "noise_token_to_random_token_or_sentinel",
    ):
        made[name] = getattr(t5_noise, name)(tokens, mask, VOCABULARY, SEEDS)
        assert np.array_equal(made[name][~mask], tokens[~mask]) and not np.array_equal(made[name], tokens) and made[name].dtype == np.int32
        made[name] = made[name][mask]
    assert sorted(made["permute_noise_tokens"]) == tokens[mask].tolist()
    assert set(made["noise_token_to_gathered_token"]) <= set(tokens)
    assert made["noise_token_to_random_token"].min() >= 3
    assert np.mean(made["noise_token_to_random_token_or_sentinel"] == 999) == pytest.approx(0.9, abs=0.06)
    assert t5_noise.sentinel_id(VOCABULARY, return_value=7) == 7


HELPED = {
    (512, 0.15, 3.0): (568, 114), (1024, 0.15, 3.0): (1137, 229), (114, 0.15, 3.0): (126, 26), (256, 0.15, 3.0): (284, 58),
    (2048, 0.15, 3.0): (2274, 456), (128, 0.15, 3.0): (141, 29), (100, 0.15, 3.0): (110, 22), (512, 0.5, 3.0): (766, 512),
    (64, 0.2, 2.0): (70, 22), (64, 0.2, 1.0): (63, 27),
}  # fmt: skip


@pytest.mark.parametrize("compat", [None, "seqio"])
def test_lengths_that_need_no_padding(compat) -> None:
    assert {key: t5_noise.random_spans_helper(*key, 1, 1, compat=compat) for key in HELPED} == HELPED


def test_the_helper_counts_what_the_mask_makes() -> None:
    assert t5_noise.random_spans_helper(172, 0.15, 3.0, 1, 1, compat="seqio") == (190, 38)  # two less than the mask makes
    helper = functools.partial(t5_noise.random_spans_helper, extra_tokens_per_span_inputs=1, extra_tokens_per_span_targets=1)
    for inputs in [*range(16, 300), 512, 4096]:
        tokens, targets = helper(inputs, 0.15, 3.0)
        mask = t5_noise.random_spans_noise_mask(tokens, 0.15, SEEDS)
        made = [
            function(np.arange(tokens), mask, VOCABULARY, ())
            for function in (t5_noise.noise_span_to_unique_sentinel, t5_noise.nonnoise_span_to_unique_sentinel)
        ]
        assert len(made[0]) + 1 <= inputs and len(made[1]) + 1 == targets


def test_the_helper_tells(capsys) -> None:
    t5_noise.random_spans_helper(512, 0.15, 3.0, 1, 1, verbose=True)
    assert (
        capsys.readouterr().out == "tokens_length=568 inputs_length=512 targets_length=114 noise_density=0.15 mean_noise_span_length=3.0\n"
    )
