"""T5's steps that cut long texts and join short ones, before noise is made of them.

They take tokens in `targets`, unless another feature is named. From the same seeds T5 makes the same examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks import stateless_random, step_seeds
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.map_over_dataset import Step, map_examples, stream_step
from tokenreel.tasks.preprocessor_marks import mark_random
from tokenreel.tasks.stream_nodes import Keyed

Example = dict[str, Any]
Lengths = Mapping[str, int]
Features = Mapping[str, Any]
Names = Sequence[str]


def random_step(step: Step) -> Step:
    """Makes a step of a function of streams that draws for each example; a decorator."""
    return mark_random(stream_step(step), 1)


def compat_of(compat: str | None) -> str | None:
    """Gives what a step is told to be compatible with, or else its task."""
    return step_seeds.current().compat if compat is None else compat


def _not_empty(stream: ExampleStream, name: str) -> ExampleStream:
    return stream.filter(lambda example: np.size(example[name]) > 0)


def _check_passthrough(names: Names, passthrough: Names | None, what: str) -> None:
    """Refuses features that are to be cut and to stay."""
    overlap = sorted(set(names) & set(passthrough or ()))
    if overlap:
        raise ConfigError(f"{what} keys {overlap} also included in passthrough keys")


def _equally_long(example: Example, name: str, feature_key: str, step: str) -> Any:
    """Gives a feature that is cut like another, and refuses one of another length."""
    value = np.asarray(example[name])
    if len(value) != len(example[feature_key]):
        raise ConfigError(
            f"Additional feature {name} is not the same size as {feature_key} along axis 0 in {step}(): {len(value)} and "
            f"{len(example[feature_key])}"
        )
    return value


def single_example_select_random_chunk(
    features: Example,
    seed: stateless_random.Seed,
    output_features: Features,
    max_length: int | None = None,
    feature_key: str = "targets",
    additional_feature_keys: Names | None = None,
    passthrough_feature_keys: Names | None = None,
    sequence_length: Lengths | None = None,
    uniform_random_start: bool = False,
    min_length: int | None = None,
) -> Example:
    """Takes a random part of an example of at least one token; see `select_random_chunk`.

    Args:
      features: the example.
      seed: a pair of integers.
      output_features: tells whether the feature ends with EOS, for which a place is left where the length is `sequence_length`'s.
      max_length: most tokens; by default those of `sequence_length`.
      feature_key: the feature to cut.
      additional_feature_keys: features of the same length, which are cut at the same places.
      passthrough_feature_keys: features that stay as they are; all others are left out.
      sequence_length: see `max_length`.
      uniform_random_start: begins anywhere, also before the first token; otherwise at multiples of the length.
      min_length: draws the length too, from this one to one less than `max_length`.

    Raises:
      ConfigError: a feature is to be cut and to stay, has another length, or no length is given.
    """
    also = list(additional_feature_keys or ())
    _check_passthrough([feature_key, *also], passthrough_feature_keys, "chunk")
    if max_length is None and sequence_length is not None:
        max_length = sequence_length[feature_key] - int(output_features[feature_key].add_eos)
    if max_length is None:
        raise ConfigError("Must specify max_length or sequence_length.")
    seeds = stateless_random.split(seed)
    count, length = len(features[feature_key]), max_length
    if min_length is not None:
        length = int(stateless_random.integers(seeds[0], min_length, max_length)[0])
    if uniform_random_start:
        first = int(stateless_random.integers(seeds[1], 1 - length, count)[0])
    else:
        first = length * int(stateless_random.integers(seeds[1], 0, -(-count // length))[0])
    chunk = slice(max(first, 0), min(first + length, count))
    cut = {name: _equally_long(features, name, feature_key, "select_random_chunk")[chunk] for name in (feature_key, *also)}
    return cut | {name: features[name] for name in passthrough_feature_keys or ()}


@random_step
def select_random_chunk(
    dataset: Any,
    output_features: Features,
    max_length: int | None = None,
    feature_key: str = "targets",
    additional_feature_keys: Names | None = None,
    passthrough_feature_keys: Names | None = None,
    sequence_length: Lengths | None = None,
    uniform_random_start: bool = False,
    min_length: int | None = None,
    **unused: Any,
) -> Any:
    """Takes a random part of each example, and leaves empty ones out; arguments as for `single_example_select_random_chunk`."""
    step = map_examples(num_seeds=1)(single_example_select_random_chunk)
    return step(
        _not_empty(dataset, feature_key),
        output_features=output_features,
        max_length=max_length,
        feature_key=feature_key,
        additional_feature_keys=additional_feature_keys,
        passthrough_feature_keys=passthrough_feature_keys,
        sequence_length=sequence_length,
        uniform_random_start=uniform_random_start,
        min_length=min_length,
    )


@stream_step
def reduce_concat_tokens(
    dataset: Any,
    feature_key: str = "targets",
    batch_size: int = 128,
    separator_id: int | None = None,
    compat: str | None = None,
    **unused: Any,
) -> Any:
    """Joins the tokens of `batch_size` examples after one another; other features are left out.

    Args:
      dataset: of examples with tokens.
      feature_key: the feature that holds them.
      batch_size: examples that become one.
      separator_id: is put behind the tokens of each example; None puts nothing, as T5.
      compat: "seqio" leaves out every token that is 0, as T5 does, also where it is a token of the text.
      **unused: what T5 hands to all steps.
    """
    drop_zeros = compat_of(compat) == "seqio"

    def joined(elements: Iterator[Keyed]) -> Iterator[Example]:
        while group := [np.asarray(element.value[feature_key]) for element in itertools.islice(elements, batch_size)]:
            end = [] if separator_id is None else [np.array([separator_id], dtype=group[0].dtype)]
            tokens = np.concatenate([part for tokens in group for part in (tokens, *end)])
            yield {feature_key: tokens[tokens != 0] if drop_zeros else tokens}

    return dataset.regroup(joined, f"reduce_concat_tokens({feature_key}, {batch_size})")


@random_step
def split_tokens(
    dataset: Any,
    min_tokens_per_segment: int | None = None,
    max_tokens_per_segment: int | None = None,
    feature_key: str = "targets",
    additional_feature_keys: Names | None = None,
    passthrough_feature_keys: Names | None = None,
    **unused: Any,
) -> Any:
    """Cuts each example into several, and leaves empty ones out. Only the last part of an example is shorter than the others.

    Args:
      dataset: of examples with tokens.
      min_tokens_per_segment: draws the length of the parts for each example, so that its logarithm is uniform, from this one on.
      max_tokens_per_segment: the length of the parts, or the longest that is drawn.
      feature_key: the feature to cut.
      additional_feature_keys: features of the same length, which are cut at the same places.
      passthrough_feature_keys: features that each part gets as they are; all others are left out.
      **unused: what T5 hands to all steps.

    Raises:
      ConfigError: a feature is to be cut and to stay, or no length is given.
    """
    also = list(additional_feature_keys or ())
    _check_passthrough([feature_key, *also], passthrough_feature_keys, "split")
    if max_tokens_per_segment is None:
        raise ConfigError("split_tokens needs max_tokens_per_segment, the length of the parts")
    longest = max_tokens_per_segment

    @map_examples(num_seeds=1)
    def split(example: Example, seed: stateless_random.Seed) -> list[Example]:
        length = longest
        if min_tokens_per_segment is not None:
            low, high = math.log(min_tokens_per_segment), math.log(longest)
            length = int(np.exp(stateless_random.uniform(seed, 1, low, high))[0])
        values = {name: _equally_long(example, name, feature_key, "split_tokens") for name in (feature_key, *also)}
        stays = {name: example[name] for name in passthrough_feature_keys or ()}
        return [
            {name: value[start : start + length] for name, value in values.items()} | stays
            for start in range(0, len(values[feature_key]), length)
        ]

    return split(_not_empty(dataset, feature_key)).flat_map(list)


def _split_to(name: str, dataset: Any, sequence_length: Lengths, output_features: Features, shortest: int | None, kwargs: Any) -> Any:
    length = sequence_length[name] - int(output_features[name].add_eos)  # EOS comes later
    return split_tokens(dataset, min_tokens_per_segment=shortest, max_tokens_per_segment=length, **kwargs)


@random_step
def split_tokens_to_inputs_length(dataset: Any, sequence_length: Lengths, output_features: Features, **kwargs: Any) -> Any:
    """Cuts examples to the length of `inputs`, less one where these end with EOS; see `split_tokens`."""
    return _split_to("inputs", dataset, sequence_length, output_features, None, kwargs)


@random_step
def split_tokens_to_targets_length(dataset: Any, sequence_length: Lengths, output_features: Features, **kwargs: Any) -> Any:
    """Cuts examples to the length of `targets`, less one where these end with EOS; see `split_tokens`."""
    return _split_to("targets", dataset, sequence_length, output_features, None, kwargs)


@random_step
def split_tokens_to_random_length(dataset: Any, sequence_length: Lengths, output_features: Features, **kwargs: Any) -> Any:
    """Cuts examples to a random length, from 8 tokens to what `inputs` hold; see `split_tokens`."""
    return _split_to("inputs", dataset, sequence_length, output_features, 8, kwargs)


@stream_step
def concatenate_and_split_to_fixed_length(
    dataset: Any, sequence_length: Lengths, output_features: Features, feature_key: str = "targets", **unused: Any
) -> Any:
    """Joins all examples after one another and cuts that to the length of the feature, less one where it ends with EOS.

    The last part may be shorter. Other features are left out.
    """
    length = sequence_length[feature_key] - int(output_features[feature_key].add_eos)

    def cut(elements: Iterator[Keyed]) -> Iterator[Example]:
        left: Any = None
        for element in elements:
            tokens = np.asarray(element.value[feature_key])
            left = tokens if left is None else np.concatenate([left, tokens])
            whole = len(left) - len(left) % length
            yield from ({feature_key: left[start : start + length]} for start in range(0, whole, length))
            left = left[whole:]
        if left is not None and len(left):
            yield {feature_key: left}

    return dataset.regroup(cut, f"concatenate_and_split_to_fixed_length({feature_key}, {length})")


@map_examples(of_tensors=True)
def trim_tokens_at_front(x: Example, sequence_length: Lengths, keys_to_trim: Names | None = None, **unused: Any) -> Example:
    """Keeps the last tokens of features, one less than their length, for EOS comes later."""
    for name in keys_to_trim or sequence_length:
        if name in x:
            kept = sequence_length[name] - 1
            x[name] = x[name][-kept:] if kept else x[name][:0]
    return x


@stream_step
def filter_by_string_length(
    dataset: Any, feature_key: str = "targets", min_length: int = 1, max_length: int = 1000000, **unused: Any
) -> Any:
    """Keeps the examples whose text has from `min_length` to `max_length` bytes."""
    return dataset.filter(lambda example: min_length <= len(example[feature_key]) <= max_length)
