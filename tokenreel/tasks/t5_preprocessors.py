"""T5's steps for pretraining: tokens in `targets` become inputs and targets (Raffel et al. 2020, arXiv:1910.10683).

All of T5's steps stand here under their names; masks and what stands for noise are in `t5_noise`, cutting and joining in `t5_segments`.
From the same seeds T5 makes the same examples. Where T5 errs the right answer is given, and T5's with `compat="seqio"`, as an argument or
of the whole task.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks import stateless_random
from tokenreel.tasks.feature_converters.rows import shift_right
from tokenreel.tasks.map_over_dataset import Step, map_examples
from tokenreel.tasks.preprocessor_marks import asks_for
from tokenreel.tasks.preprocessors import append_eos
from tokenreel.tasks.preprocessors import parse_tsv as parse_tsv
from tokenreel.tasks.preprocessors import preprocess_tsv as preprocess_tsv
from tokenreel.tasks.t5_noise import drop_noise_tokens as drop_noise_tokens
from tokenreel.tasks.t5_noise import drop_nonnoise_tokens as drop_nonnoise_tokens
from tokenreel.tasks.t5_noise import iid_noise_mask as iid_noise_mask
from tokenreel.tasks.t5_noise import noise_span_to_sentinel as noise_span_to_sentinel
from tokenreel.tasks.t5_noise import noise_span_to_unique_sentinel as noise_span_to_unique_sentinel
from tokenreel.tasks.t5_noise import noise_token_to_gathered_token as noise_token_to_gathered_token
from tokenreel.tasks.t5_noise import noise_token_to_random_token as noise_token_to_random_token
from tokenreel.tasks.t5_noise import noise_token_to_random_token_or_sentinel as noise_token_to_random_token_or_sentinel
from tokenreel.tasks.t5_noise import noise_token_to_sentinel as noise_token_to_sentinel
from tokenreel.tasks.t5_noise import nonnoise_span_to_sentinel as nonnoise_span_to_sentinel
from tokenreel.tasks.t5_noise import nonnoise_span_to_unique_sentinel as nonnoise_span_to_unique_sentinel
from tokenreel.tasks.t5_noise import permute_noise_tokens as permute_noise_tokens
from tokenreel.tasks.t5_noise import random_prefix_noise_mask as random_prefix_noise_mask
from tokenreel.tasks.t5_noise import random_spans_helper as random_spans_helper
from tokenreel.tasks.t5_noise import random_spans_noise_mask as random_spans_noise_mask
from tokenreel.tasks.t5_noise import regular_noise_mask as regular_noise_mask
from tokenreel.tasks.t5_noise import sentinel_id as sentinel_id
from tokenreel.tasks.t5_segments import Example, Features, Lengths, Names, compat_of, random_step
from tokenreel.tasks.t5_segments import concatenate_and_split_to_fixed_length as concatenate_and_split_to_fixed_length
from tokenreel.tasks.t5_segments import filter_by_string_length as filter_by_string_length
from tokenreel.tasks.t5_segments import reduce_concat_tokens as reduce_concat_tokens
from tokenreel.tasks.t5_segments import select_random_chunk as select_random_chunk
from tokenreel.tasks.t5_segments import single_example_select_random_chunk as single_example_select_random_chunk
from tokenreel.tasks.t5_segments import split_tokens as split_tokens
from tokenreel.tasks.t5_segments import split_tokens_to_inputs_length as split_tokens_to_inputs_length
from tokenreel.tasks.t5_segments import split_tokens_to_random_length as split_tokens_to_random_length
from tokenreel.tasks.t5_segments import split_tokens_to_targets_length as split_tokens_to_targets_length
from tokenreel.tasks.t5_segments import trim_tokens_at_front as trim_tokens_at_front


def single_example_denoise(
    features: Example,
    seed: stateless_random.Seed,
    *,
    output_features: Features,
    noise_density: float,
    noise_mask_fn: Callable[..., Any],
    inputs_fn: Callable[..., Any],
    targets_fn: Callable[..., Any] | None = None,
    passthrough_feature_keys: Names | None = None,
    input_feature_key: str = "inputs",
) -> Example:
    """Makes inputs and targets of the tokens in `targets`.

    Args:
      features: the example.
      seed: a pair of integers.
      output_features: gives the vocabulary.
      noise_density: share of the tokens that is noise.
      noise_mask_fn: makes the mask: (length, density, seeds=two pairs).
      inputs_fn: makes the inputs: (tokens, mask, vocabulary, seeds=two pairs).
      targets_fn: makes the targets; None keeps the tokens.
      passthrough_feature_keys: features that stay; all others are left out.
      input_feature_key: name of the inputs.

    Raises:
      ConfigError: inputs and targets have different vocabularies, or a feature is to be made and to stay.
    """
    if {input_feature_key, "targets"} & set(passthrough_feature_keys or ()):
        raise ConfigError(f"passthrough keys cannot contain '{input_feature_key}' or 'targets'")
    vocabulary = output_features["targets"].vocabulary
    if input_feature_key in output_features and vocabulary != output_features[input_feature_key].vocabulary:
        raise ConfigError(
            "denoise creates inputs based on tokenized targets but was applied to a task that uses different vocabularies for inputs and "
            "targets."
        )
    seeds = stateless_random.split(seed, 6)
    tokens = np.asarray(features["targets"])
    # What TensorFlow functions of users give is an array here too.
    mask = np.asarray(noise_mask_fn(len(tokens), noise_density, seeds=seeds[:2]))
    inputs = np.asarray(inputs_fn(tokens, mask, vocabulary, seeds=seeds[2:4]))
    targets = tokens if targets_fn is None else np.asarray(targets_fn(tokens, mask, vocabulary, seeds=seeds[4:6]))
    stays = {name: features[name] for name in features if name in (passthrough_feature_keys or ())}
    return {input_feature_key: inputs, "targets": targets, **stays}


@random_step
def denoise(
    dataset: Any,
    output_features: Features,
    noise_density: float,
    noise_mask_fn: Callable[..., Any],
    inputs_fn: Callable[..., Any],
    targets_fn: Callable[..., Any] | None = None,
    passthrough_feature_keys: Names | None = None,
    input_feature_key: str = "inputs",
    **unused: Any,
) -> Any:
    """Makes inputs and targets of the tokens of each example; arguments as for `single_example_denoise`."""
    return map_examples(num_seeds=1)(single_example_denoise)(
        dataset,
        output_features=output_features,
        noise_density=noise_density,
        noise_mask_fn=noise_mask_fn,
        inputs_fn=inputs_fn,
        targets_fn=targets_fn,
        passthrough_feature_keys=passthrough_feature_keys,
        input_feature_key=input_feature_key,
    )


# Objectives.


@random_step
def span_corruption(
    dataset: Any,
    sequence_length: Lengths,
    output_features: Features,
    mean_noise_span_length: float = 3.0,
    noise_density: float = 0.15,
    input_feature_key: str = "inputs",
    merge_examples_to_reduce_padding: bool = True,
    reserved_for_packing: int | None = None,
    passthrough_feature_keys: Names | None = None,
    separator_id: int | None = None,
    compat: str | None = None,
) -> Any:
    """Makes spans of noise, with a sentinel in place of each in the inputs, and in the targets a sentinel before each.

    Texts are cut, and 128 at a time joined, to as many tokens as fill the inputs. EOS is left to `append_eos`.

    Args:
      dataset: of examples with `targets`.
      sequence_length: of inputs and targets.
      output_features: of the task.
      mean_noise_span_length: tokens in a span of noise, on average.
      noise_density: share of the tokens that is noise.
      input_feature_key: name of the inputs.
      merge_examples_to_reduce_padding: whether texts are joined.
      reserved_for_packing: positions of the inputs that are left free, so that several examples may be packed.
      passthrough_feature_keys: features that stay; not where texts are joined.
      separator_id: is put behind each text that is joined; None puts nothing, as T5.
      compat: "seqio" joins and counts as T5 does, see `reduce_concat_tokens` and `random_spans_helper`.

    Raises:
      ConfigError: the targets are longer than their length, or features are to stay where texts are joined.
    """
    compat, stays = compat_of(compat), passthrough_feature_keys
    if merge_examples_to_reduce_padding and stays:
        raise ConfigError(f"passthrough_feature_keys not supported with merge_examples_to_reduce_padding=True. Got: {stays}")
    inputs_length = sequence_length[input_feature_key] - (reserved_for_packing or 0)
    tokens_length, targets_length = random_spans_helper(inputs_length, noise_density, mean_noise_span_length, 1, 1, compat=compat)
    if sequence_length["targets"] < targets_length:
        raise ConfigError(
            f"Expected targets length for span corruption ({targets_length}) is greater than configured targets length "
            f"({sequence_length['targets']})"
        )
    dataset = select_random_chunk(dataset, output_features=output_features, max_length=65536, passthrough_feature_keys=stays)
    if merge_examples_to_reduce_padding:
        dataset = reduce_concat_tokens(dataset, batch_size=128, separator_id=separator_id, compat=compat)
    dataset = split_tokens(dataset, max_tokens_per_segment=tokens_length, passthrough_feature_keys=stays)
    return denoise(
        dataset,
        output_features,
        noise_density=noise_density,
        noise_mask_fn=functools.partial(random_spans_noise_mask, mean_noise_span_length=mean_noise_span_length),
        inputs_fn=noise_span_to_unique_sentinel,
        targets_fn=nonnoise_span_to_unique_sentinel,
        input_feature_key=input_feature_key,
        passthrough_feature_keys=stays,
    )


@random_step
def iid_denoising(dataset: Any, sequence_length: Lengths, output_features: Features) -> Any:
    """Makes each token noise with the probability 0.15, on texts that are joined and cut to the inputs' length."""
    dataset = reduce_concat_tokens(select_random_chunk(dataset, output_features=output_features, max_length=65536))
    return denoise(
        split_tokens_to_inputs_length(dataset, output_features=output_features, sequence_length=sequence_length),
        output_features,
        noise_density=0.15,
        noise_mask_fn=iid_noise_mask,
        inputs_fn=noise_span_to_unique_sentinel,
        targets_fn=nonnoise_span_to_unique_sentinel,
    )


@random_step
def prefix_lm(dataset: Any, sequence_length: Lengths, output_features: Features, noise_density: float = 0.5) -> Any:
    """Makes the beginning of each text its inputs and the rest its targets, on texts that are cut to the inputs' length."""
    dataset = select_random_chunk(dataset, output_features=output_features, max_length=65536)
    return denoise(
        split_tokens_to_inputs_length(dataset, output_features=output_features, sequence_length=sequence_length),
        output_features,
        noise_density=noise_density,
        noise_mask_fn=random_prefix_noise_mask,
        inputs_fn=drop_nonnoise_tokens,
        targets_fn=drop_noise_tokens,
    )


@random_step
def full_lm(dataset: Any, sequence_length: Lengths, output_features: Features) -> Any:
    """Joins texts with EOS between them and cuts that to the targets' length."""
    dataset = append_eos(select_random_chunk(dataset, output_features=output_features, max_length=65536), output_features)
    return split_tokens(reduce_concat_tokens(dataset), max_tokens_per_segment=sequence_length["targets"])


def unsupervised(
    dataset: Any,
    preprocessors: Sequence[Step] | None = None,
    output_features: Features | None = None,
    sequence_length: Lengths | None = None,
) -> Any:
    """Applies steps one after the other, each with what it takes of `output_features` and `sequence_length`."""
    if preprocessors is None:
        warnings.warn("unsupervised got preprocessors=None; no preprocessing will be applied", stacklevel=2)
    given = {"output_features": output_features, "sequence_length": sequence_length}
    for step in preprocessors or ():
        dataset = step(dataset, **{name: given[name] for name in asks_for(step) if given[name]})
    return dataset


@map_examples
def trim_and_pad_dataset(example: Example, sequence_length: Lengths) -> Example:
    """Cuts features to their lengths and fills them up with 0."""
    for name, length in sequence_length.items():
        if name in example:
            value = np.asarray(example[name])[:length]
            example[name] = np.pad(value, [(0, length - len(value)), *[(0, 0)] * (value.ndim - 1)])
    return example


@random_step
def targets_for_prefix_lm_objective(dataset: Any, sequence_length: Lengths, output_features: Features) -> Any:
    """Makes targets of one length, as the steps that pack prefixes take them: those of `full_lm`, filled up."""
    return trim_and_pad_dataset(full_lm(dataset, sequence_length, output_features), sequence_length)


def _one_length(sequence_length: Lengths) -> int:
    lengths = set(sequence_length.values())
    if len(lengths) != 1 or next(iter(lengths)) % 2:
        raise ConfigError(f"prefixes are packed to one length, an even number, got sequence_length {dict(sequence_length)}")
    return int(next(iter(lengths)))


@random_step
def pack_prefix_lm_decoder_only(ds: Any, sequence_length: Lengths, loss_on_targets_only: bool = True, pad_id: int = 0) -> Any:
    """Splits targets of one length at random: a decoder sees the first part from both sides, and learns the second.

    Gives `decoder_target_tokens`, `decoder_input_tokens`, `decoder_loss_weights` and `decoder_causal_attention`, all [length].
    """
    length = _one_length(sequence_length)

    @map_examples(num_seeds=1)
    def pack(example: Example, seed: stateless_random.Seed) -> Example:
        split = stateless_random.integers(seed, 1, length)[0]
        targets, place = np.asarray(example["targets"]), np.arange(length)
        learned = place >= split if loss_on_targets_only else np.ones(length, np.bool_)
        return {
            "decoder_target_tokens": targets,
            "decoder_input_tokens": shift_right(targets),
            "decoder_loss_weights": (learned & (targets != pad_id)).astype(np.int32),
            "decoder_causal_attention": (place <= split).astype(np.int32),
        }

    return pack(ds)


@random_step
def pack_prefix_lm_encoder_decoder(ds: Any, sequence_length: Lengths, pad_id: int = 0) -> Any:
    """Packs pairs of targets of one length: what the encoder reads of the first, the decoder reads of the second, and the other way round.

    Gives `encoder_input_tokens`, `decoder_target_tokens`, `decoder_input_tokens`, `decoder_loss_weights`, and segment ids and positions of
    both sides, all [length].
    """
    length = _one_length(sequence_length)

    @map_examples(num_seeds=1)
    def pack(pair: Example, seed: stateless_random.Seed) -> Example:
        if len(pair["targets"]) < 2:
            raise ConfigError("pack_prefix_lm_encoder_decoder packs pairs, and the number of examples is odd: leave the last out with take")
        split = int(stateless_random.integers(seed, 1, length)[0])
        (first, second), place = pair["targets"], np.arange(length, dtype=np.int32)
        targets = np.concatenate([first[split:], second[length - split :]])
        decoder_segments = (place >= length - split).astype(np.int32) + 1
        return {
            "encoder_input_tokens": np.concatenate([first[:split], second[: length - split]]),
            "decoder_target_tokens": targets,
            "decoder_input_tokens": shift_right(targets, segment_ids=decoder_segments),
            "encoder_segment_ids": (place >= split).astype(np.int32) + 1,
            "encoder_positions": np.concatenate([place[:split], place[: length - split]]),
            "decoder_segment_ids": decoder_segments,
            "decoder_positions": np.concatenate([place[: length - split], place[:split]]),
            "decoder_loss_weights": (targets != pad_id).astype(np.int32),
        }

    return pack(ds.batch(2))
