"""T5's noise: which tokens of an example are noise, and what stands for them (Raffel et al. 2020, arXiv:1910.10683).

A mask function takes (length, density, seeds), a noise function (tokens, mask, vocabulary, seeds), as T5's do; seeds are pairs of integers.
From the same seeds T5 makes the same arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.objectives.noise import noise_to_sentinels
from tokenreel.tasks import stateless_random
from tokenreel.tasks.stateless_random import Seed

Tokens = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
Seeds = Any
"""Pairs of integers, or an array of them."""


# Masks.


def iid_noise_mask(length: int, noise_density: float, seeds: Seeds) -> Mask:
    """Makes each token noise with the probability `noise_density`: bool [length]."""
    return stateless_random.uniform(seeds[0], length) < np.float32(noise_density)


def regular_noise_mask(length: int, noise_density: float, seeds: Seeds, min_span_length: int = 1, max_span_length: int = 5) -> Mask:
    """Makes spans of one length at equal distances noise, bool [length]; the length and where they begin are drawn for each example."""
    span = int(stateless_random.integers(seeds[0], min_span_length, max_span_length + 1)[0])
    period = int(np.rint(np.float32(span) / np.float32(noise_density)))
    offset = int(stateless_random.integers(seeds[1], 0, period)[0])
    return np.asarray((np.arange(length) + offset) % period < span)


def noise_counts(length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int]:
    """Counts the tokens of noise and the spans of `length` tokens, 2 or more, as T5's masks do: rounded in float32, ties to even.

    The objectives of this project round the exact product instead, which differs where that is a tie (190 tokens at 0.15).

    >>> noise_counts(568, 0.15, 3.0), noise_counts(190, 0.15, 3.0)
    ((85, 28), (29, 10))
    """
    if not noise_density:
        return 0, 0
    noise = min(max(int(np.rint(np.float32(length) * np.float32(noise_density))), 1), length - 1)
    spans = max(int(np.rint(np.float32(noise) / np.float32(mean_noise_span_length))), 1)
    return noise, min(spans, noise, length - noise)  # each span has a token, and one of text before it


def random_spans_noise_mask(
    length: int, noise_density: float, seeds: Seeds, mean_noise_span_length: float = 3.0, random_roll: bool = False
) -> Mask:
    """Makes spans of random lengths noise, in exact numbers: `noise_counts`. Text comes first, noise last, unless they are rolled.

    Args:
      length: tokens of the example.
      noise_density: share of them that is noise; 0 for none.
      seeds: two pairs, for the lengths of the spans of noise and of those of text: all ways to divide them are equally likely.
      mean_noise_span_length: tokens in a span of noise, on average.
      random_roll: turns the mask by a random number of tokens, so that the ends are noise as often as the middle.

    Returns:
      bool [length].

    >>> random_spans_noise_mask(32, 0.25, [(1, 2), (3, 4)], mean_noise_span_length=2.0).nonzero()[0].tolist()
    [6, 7, 8, 10, 11, 12, 28, 31]
    """
    if not noise_density:
        return np.zeros(length, np.bool_)
    at_least_two = max(length, 2)
    noise, spans = noise_counts(at_least_two, noise_density, mean_noise_span_length)
    noise_lengths = _random_lengths(noise, spans, seeds[0])
    mask = alternate(_random_lengths(at_least_two - noise, spans, seeds[1]), noise_lengths)[:length]
    if random_roll:
        (a, b), (c, d) = (tuple(map(int, seed)) for seed in seeds[:2])
        offset = stateless_random.integers((a + d, b - c), 0, at_least_two)[0]
        mask = np.roll(mask, offset)
    return mask


def alternate(text_lengths: npt.ArrayLike, noise_lengths: npt.ArrayLike) -> Mask:
    """Makes a mask of the [spans] lengths of its spans, of text and of noise, which take turns: bool [sum of all].

    >>> alternate([2, 1], [1, 2]).astype(int).tolist()
    [0, 0, 1, 0, 1, 1]
    """
    lengths = np.stack([np.asarray(text_lengths), np.asarray(noise_lengths)], axis=1).reshape(-1)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def _random_lengths(total: int, parts: int, seed: Seed) -> npt.NDArray[np.int64]:
    """Divides `total` into lengths of at least 1: int64 [parts]."""
    begins = stateless_random.shuffle(np.arange(total - 1) < parts - 1, seed)
    return np.diff(np.concatenate([[0], np.flatnonzero(begins) + 1, [total]]))


def random_prefix_noise_mask(length: int, noise_density: float, seeds: Seeds) -> Mask:
    """Makes the beginning noise, bool [length]: for `prefix_lm`, whose inputs it is. With density 0.5 any length from 1 on is as likely.

    Raises:
      NotImplementedError: the density is above 0.5.
    """
    if noise_density > 0.5:
        raise NotImplementedError("noise density must not exceed 0.5 for random_prefix_noise_mask")
    most = length - 1
    least = min(most, max(1, int(np.rint(np.float32(1 - 2 * noise_density) * np.float32(most)))))
    return np.asarray(np.arange(length) < stateless_random.integers(seeds[0], least, most + 1)[0])


# What stands for noise.


def sentinel_id(vocabulary: Any, return_value: int | None = None) -> int:
    """Gives the id of the first sentinel: the last of the vocabulary, unless another is given."""
    return int(vocabulary.vocab_size - 1) if return_value is None else return_value


def noise_token_to_sentinel(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Puts the sentinel in place of each token of noise."""
    return np.where(noise_mask, tokens.dtype.type(sentinel_id(vocabulary)), tokens)


def noise_span_to_sentinel(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Puts one sentinel, always the same, in place of each span of noise."""
    return _spans_to_sentinels(tokens, noise_mask, vocabulary, step=0)


def nonnoise_span_to_sentinel(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Puts one sentinel, always the same, in place of each span that is not noise."""
    return _spans_to_sentinels(tokens, ~noise_mask, vocabulary, step=0)


def noise_span_to_unique_sentinel(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Puts a sentinel in place of each span of noise: the last id of the vocabulary for the first, the one before it for the second, ..."""
    return _spans_to_sentinels(tokens, noise_mask, vocabulary, step=-1)


def nonnoise_span_to_unique_sentinel(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Puts such sentinels in place of the spans that are not noise."""
    return _spans_to_sentinels(tokens, ~noise_mask, vocabulary, step=-1)


def _spans_to_sentinels(tokens: Tokens, mask: Mask, vocabulary: Any, step: int) -> Tokens:
    values, kept = noise_to_sentinels(tokens[None], mask[None], sentinel_id(vocabulary), step)
    return np.asarray(values[kept])


def drop_noise_tokens(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Leaves noise out."""
    return tokens[~noise_mask]


def drop_nonnoise_tokens(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Leaves everything but noise out."""
    return tokens[noise_mask]


def permute_noise_tokens(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Shuffles the tokens of noise among their places."""
    shuffled = tokens.copy()
    shuffled[noise_mask] = stateless_random.shuffle(tokens[noise_mask], seeds[0])
    return shuffled


def noise_token_to_gathered_token(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds) -> Tokens:
    """Puts a random token of the example in place of each token of noise."""
    if not len(tokens):
        return tokens
    return np.where(noise_mask, tokens[stateless_random.integers(seeds[0], 0, len(tokens), len(tokens))], tokens)


def noise_token_to_random_token(tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds, num_reserved_tokens: int = 3) -> Tokens:
    """Puts a random id of the vocabulary, from `num_reserved_tokens` on, in place of each token of noise."""
    drawn = stateless_random.integers(seeds[0], num_reserved_tokens, int(vocabulary.vocab_size), len(tokens))
    return np.where(noise_mask, drawn.astype(tokens.dtype), tokens)


def noise_token_to_random_token_or_sentinel(
    tokens: Tokens, noise_mask: Mask, vocabulary: Any, seeds: Seeds, random_prob: float = 0.1
) -> Tokens:
    """Puts a random id, with the probability `random_prob`, or else the sentinel in place of each token of noise."""
    return np.where(
        stateless_random.uniform(seeds[0], len(tokens)) < np.float32(random_prob),
        noise_token_to_random_token(tokens, noise_mask, vocabulary, seeds[1:]),
        noise_token_to_sentinel(tokens, noise_mask, vocabulary, ()),
    )


# Lengths.


def random_spans_helper(
    inputs_length: int,
    noise_density: float,
    mean_noise_span_length: float,
    extra_tokens_per_span_inputs: int,
    extra_tokens_per_span_targets: int,
    verbose: bool = False,
    compat: str | None = None,
) -> tuple[int, int]:
    """Finds the most tokens whose inputs still fit, so that nothing is padded, and how many targets they make; both end with EOS.

    Args:
      inputs_length: positions of the inputs.
      noise_density: share of the tokens that is noise.
      mean_noise_span_length: tokens in a span of noise, on average.
      extra_tokens_per_span_inputs: sentinels for a span in the inputs.
      extra_tokens_per_span_targets: sentinels for a span in the targets.
      verbose: prints what was found.
      compat: "seqio" rounds as T5's helper does, in float64: for some lengths (172 at 0.15) T5's masks make two targets more than it says.

    Returns:
      tokens, and positions of the targets.

    >>> random_spans_helper(512, 0.15, 3.0, 1, 1), random_spans_helper(172, 0.15, 3.0, 1, 1)
    ((568, 114), (190, 40))
    """

    def lengths(tokens: int) -> tuple[int, int]:
        if compat == "seqio":
            noise = round(tokens * noise_density)
            spans = round(noise / mean_noise_span_length)
        else:
            noise, spans = noise_counts(max(tokens, 2), noise_density, mean_noise_span_length)
        return tokens - noise + spans * extra_tokens_per_span_inputs + 1, noise + spans * extra_tokens_per_span_targets + 1

    tokens = inputs_length - 1
    while lengths(tokens + 1)[0] <= inputs_length:
        tokens += 1
    needed, targets = lengths(tokens)
    if noise_density == 0.5 and targets > needed:  # T5's: the targets then are as long as the inputs
        tokens, targets = tokens - 1, targets - 1
    if verbose:
        print(f"tokens_length={tokens} inputs_length={needed} targets_length={targets} {noise_density=} {mean_noise_span_length=}")
    return tokens, targets
