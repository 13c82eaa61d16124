"""T5's objectives as steps: what goes in comes out again, once, in inputs and targets that fit."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import ExampleStream, Feature, map_seed_manager, preprocessor_marks, preprocessors, t5_preprocessors
from tokenreel.tasks.vocabularies import PassThroughVocabulary

VOCABULARY = PassThroughVocabulary(1000, eos_id=1)
FEATURES = {name: Feature(VOCABULARY) for name in ("inputs", "targets")}
TEXTS = [
    np.arange(start, start + length, dtype=np.int32) % 800 + 2 for start, length in ((0, 40), (40, 0), (40, 100), (140, 7), (147, 200))
]
STREAM = ExampleStream.from_examples([{"targets": text} for text in TEXTS])
ALL = np.concatenate(TEXTS).tolist()


def joined(parts):
    return list(itertools.chain.from_iterable(parts))


def splice(example) -> list[int]:
    """Puts an example of span corruption together again."""
    spans: list[list[int]] = []
    for token in example["targets"].tolist():
        if token >= 900:
            spans.append([])
        else:
            spans[-1].append(token)
    return [token for place in example["inputs"].tolist() for token in (spans[999 - place] if place >= 900 else [place])]


def test_span_corruption() -> None:
    lengths = {"inputs": 64, "targets": 16}
    made = list(t5_preprocessors.span_corruption(STREAM, lengths, FEATURES))
    assert joined(map(splice, made)) == ALL
    full = made[:-1]  # no padding, with the EOS that comes later
    assert {len(example["inputs"]) for example in full} == {63} and {len(example["targets"]) for example in full} == {13}
    assert {example["inputs"].dtype for example in made} == {np.dtype(np.int32)}
    with pytest.raises(
        ConfigError, match=r"Expected targets length for span corruption \(14\) is greater than configured targets length \(13\)"
    ):
        t5_preprocessors.span_corruption(STREAM, {"inputs": 64, "targets": 13}, FEATURES)


def test_span_corruption_of_single_texts_and_with_separators() -> None:
    lengths = {"inputs": 64, "targets": 16}
    alone = list(t5_preprocessors.span_corruption(STREAM, lengths, FEATURES, merge_examples_to_reduce_padding=False))
    assert [len(splice(example)) for example in alone] == [40, 70, 30, 7, 70, 70, 60]
    apart = list(t5_preprocessors.span_corruption(STREAM, lengths, FEATURES, separator_id=1))
    assert joined(map(splice, apart)) == [token for text in TEXTS if len(text) for token in (*text.tolist(), 1)]
    with pytest.raises(
        ConfigError, match=r"passthrough_feature_keys not supported with merge_examples_to_reduce_padding=True\. Got: \['id'\]"
    ):
        t5_preprocessors.span_corruption(STREAM, lengths, FEATURES, passthrough_feature_keys=["id"])
    room = t5_preprocessors.span_corruption(STREAM, lengths, FEATURES, reserved_for_packing=32)
    assert max(len(example["inputs"]) for example in room) == 31


def test_an_epoch_masks_anew() -> None:
    step = functools.partial(t5_preprocessors.span_corruption, sequence_length={"inputs": 64, "targets": 16}, output_features=FEATURES)
    single = functools.partial(step, merge_examples_to_reduce_padding=False)
    with map_seed_manager(1):
        first, second = np.array_split(np.array([example["inputs"].sum() for example in single(STREAM.epochs(2))]), 2)
    assert len(first) == len(second) == 7 and (first != second).sum() > 4
    assert preprocessor_marks.is_random(step) and preprocessor_marks.takes_streams(step)
    assert preprocessor_marks.asks_for(t5_preprocessors.span_corruption) == ("sequence_length", "output_features")


def test_prefixes() -> None:
    made = list(t5_preprocessors.prefix_lm(STREAM, {"inputs": 51, "targets": 51}, FEATURES))
    assert [token for example in made for name in ("inputs", "targets") for token in example[name].tolist()] == ALL
    assert len({len(example["inputs"]) for example in made}) > 4 and all(
        len(example["inputs"]) and len(example["targets"]) for example in made
    )


def test_full_lm_and_iid_denoising() -> None:
    made = list(t5_preprocessors.full_lm(STREAM, {"targets": 50}, FEATURES))
    assert joined(example["targets"].tolist() for example in made) == [
        token for text in TEXTS if len(text) for token in (*text.tolist(), 1)
    ]
    assert [len(example["targets"]) for example in made] == [50] * 7 + [1]
    made = list(t5_preprocessors.iid_denoising(STREAM, {"inputs": 51, "targets": 51}, FEATURES))
    tokens = [token for example in made for token in (*example["inputs"].tolist(), *example["targets"].tolist()) if token < 900]
    assert sorted(tokens) == sorted(ALL) and len(made) == 7


def test_denoise_refuses() -> None:
    denoise = functools.partial(
        t5_preprocessors.denoise,
        STREAM,
        noise_density=0.5,
        noise_mask_fn=t5_preprocessors.iid_noise_mask,
        inputs_fn=t5_preprocessors.drop_noise_tokens,
    )
    with pytest.raises(ConfigError, match="a task that uses different vocabularies for inputs and targets"):
        list(denoise(output_features={**FEATURES, "inputs": Feature(PassThroughVocabulary(7))}))
    with pytest.raises(ConfigError, match="passthrough keys cannot contain 'inputs' or 'targets'"):
        list(denoise(output_features=FEATURES, passthrough_feature_keys=["targets"]))
    whole = list(denoise(output_features=FEATURES, input_feature_key="read"))
    assert [example["targets"].tolist() for example in whole] == [text.tolist() for text in TEXTS] and sorted(whole[0]) == [
        "read",
        "targets",
    ]


def test_packed_prefixes() -> None:
    rows = ExampleStream.from_examples(
        [{"targets": np.array([5, 6, 7, 8, 9, 0, 0, 0], np.int32)}, {"targets": np.arange(11, 19, dtype=np.int32)}]
    )
    lengths = {"targets": 8}
    for example in t5_preprocessors.pack_prefix_lm_decoder_only(rows, lengths):
        split = int(example["decoder_causal_attention"].sum()) - 1
        targets = example["decoder_target_tokens"]
        assert (
            1 <= split < 8 and example["decoder_loss_weights"].tolist() == ((np.arange(8) >= split) & (targets != 0)).astype(int).tolist()
        )
        assert example["decoder_input_tokens"].tolist() == [0, *targets.tolist()[:-1]]
    all_learned = t5_preprocessors.pack_prefix_lm_decoder_only(rows, lengths, loss_on_targets_only=False)
    assert [example["decoder_loss_weights"].tolist() for example in all_learned] == [[1] * 5 + [0] * 3, [1] * 8]
    (pair,) = t5_preprocessors.pack_prefix_lm_encoder_decoder(rows, lengths)
    split = int((pair["encoder_segment_ids"] == 1).sum())
    first, second = ([5, 6, 7, 8, 9, 0, 0, 0], list(range(11, 19)))
    assert pair["encoder_input_tokens"].tolist() == first[:split] + second[: 8 - split]
    assert pair["decoder_target_tokens"].tolist() == first[split:] + second[8 - split :]
    assert pair["decoder_input_tokens"].tolist() == [0, *first[split:-1], 0, *second[8 - split : -1]]
    assert pair["decoder_positions"].tolist() == [*range(8 - split), *range(split)]
    with pytest.raises(ConfigError, match=r"an even number, got sequence_length \{'targets': 7\}"):
        t5_preprocessors.pack_prefix_lm_decoder_only(rows, {"targets": 7})
    with pytest.raises(ConfigError, match="the number of examples is odd"):
        list(t5_preprocessors.pack_prefix_lm_encoder_decoder(rows.take(1), lengths))


def test_rows_of_one_length() -> None:
    made = list(t5_preprocessors.targets_for_prefix_lm_objective(STREAM, {"targets": 50}, FEATURES))
    assert {example["targets"].shape for example in made} == {(50,)} and made[-1]["targets"].tolist() == [1] + [0] * 49


def test_unsupervised() -> None:
    steps = [
        functools.partial(t5_preprocessors.select_random_chunk, max_length=65536),
        t5_preprocessors.reduce_concat_tokens,
        t5_preprocessors.split_tokens_to_targets_length,
        preprocessors.append_eos_after_trim,
    ]
    made = t5_preprocessors.unsupervised(STREAM, steps, output_features=FEATURES, sequence_length={"targets": 50})
    assert [token for example in made for token in example["targets"].tolist() if token != 1] == ALL
    with pytest.warns(UserWarning, match="preprocessors=None"):
        assert t5_preprocessors.unsupervised(STREAM) is STREAM
