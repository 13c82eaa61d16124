"""Converters over data sets that were built: wrapped, packed, pairs, masked; each row is compared with the tokens that lie in it."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

import tokenreel
from tokenreel.errors import ConfigError
from tokenreel.loaders.dataset import Dataset
from tokenreel.tasks.feature_converters import (
    DecoderFeatureConverter,
    EncDecFeatureConverter,
    EncoderFeatureConverter,
    LMFeatureConverter,
    PrefixLMFeatureConverter,
)

GOLDEN = pathlib.Path("tests/golden/datasets/v3")


def opened(name: str) -> Dataset:
    return tokenreel.load(GOLDEN / name)


@pytest.mark.parametrize("name", ["c4", "gpt2", "best_fit", "fim"])
def test_laid_out_text_is_shifted_within_segments(name: str) -> None:
    dataset = opened(name)
    rows = list(LMFeatureConverter(bos_id=3)(dataset))
    stored = dataset.take(np.arange(len(dataset)))
    before = dataset.manifest.overlap
    for number, row in enumerate(rows):
        real = row["decoder_segment_ids"] > 0
        assert real.sum() == stored.get("num_tokens", np.full(len(rows), stored["tokens"].shape[1]))[number] - before
        assert np.array_equal(row["decoder_target_tokens"], np.where(real, stored["tokens"][number][before:], 0))
        assert np.array_equal(row["decoder_loss_weights"], real.astype(np.int32))
        starts = stored["document_starts"][number][before:].copy()
        begins = row["decoder_positions"] == 0
        assert not (starts & ~begins).any(), "each document begins at position 0"
        assert np.array_equal(row["decoder_input_tokens"][1:][~begins[1:]], row["decoder_target_tokens"][:-1][~begins[1:]])
        assert set(row["decoder_input_tokens"][1:][begins[1:] & real[1:]].tolist()) <= {3}
        first = stored["tokens"][number][0] if before and not starts[0] else 3
        assert row["decoder_input_tokens"][0] == first, "what the overlap holds is read, unless a document begins"
        assert not row["decoder_input_tokens"][~real].any()


def test_batches_of_a_run_are_the_rows_of_the_data_set() -> None:
    dataset = opened("c4")
    converter = LMFeatureConverter()
    rows = list(converter(dataset))
    for batch in dataset.batches(8, seed=3, epochs=1, objective=converter.over(dataset)):
        for row, number in enumerate(batch["example_id"].tolist()):
            assert all(np.array_equal(batch[name][row], values) for name, values in rows[number].items())
    taken = dataset.batches(8, features=["decoder_input_tokens", "decoder_positions"], objective=converter.over(dataset))
    assert set(next(iter(taken))) == {"decoder_input_tokens", "decoder_positions"}


@pytest.mark.parametrize("name", ["t5", "ul2"])
@pytest.mark.parametrize("pack", [False, True])
def test_pairs_keep_their_tokens_padded_or_packed(name: str, pack: bool) -> None:
    dataset = opened(name)
    stored = dataset.take(np.arange(len(dataset)))
    lengths = {"inputs": 300, "targets": 260} if pack else None
    rows = list(EncDecFeatureConverter(pack=pack)(dataset, lengths))
    assert (len(rows) < len(dataset)) == pack
    for side, feature, tokens in (("encoder", "inputs", "encoder_input_tokens"), ("decoder", "targets", "decoder_target_tokens")):
        expected = [values[:count].tolist() for values, count in zip(stored[feature], stored[f"num_{feature}"], strict=True)]
        found = []
        for row in rows:
            segments = row[f"{side}_segment_ids"] if pack else np.arange(len(row[tokens])) < len(expected[len(found)])
            found += [row[tokens][segments == number].tolist() for number in range(1, int(segments.max()) + 1)]
        assert found == expected
    weights = sum(int(row["decoder_loss_weights"].sum()) for row in rows)
    assert weights == stored["num_targets"].sum()
    assert all(row["decoder_input_tokens"][0] == 0 for row in rows)


def test_pairs_are_joined_for_a_decoder_alone() -> None:
    dataset = opened("t5")
    first = dataset[0]
    inputs, targets = int(first["num_inputs"]), int(first["num_targets"])
    for converter in (PrefixLMFeatureConverter(pack=False), DecoderFeatureConverter(pack=False)):
        row = next(iter(converter(dataset)))
        assert row["decoder_target_tokens"].shape == (128 + 29,)
        assert row["decoder_target_tokens"][: inputs + targets].tolist() == [*first["inputs"][:inputs], *first["targets"][:targets]]
        assert row["decoder_loss_weights"].tolist() == [0] * inputs + [1] * targets + [0] * (128 + 29 - inputs - targets)
        assert row["decoder_causal_attention"].sum() == inputs + 1


def test_batches_hold_a_row_for_each_pair() -> None:
    dataset = opened("t5")
    with pytest.raises(ConfigError, match="a batch has one row for each pair"):
        EncDecFeatureConverter().over(dataset)
    batch = next(iter(dataset.batches(4, shuffle=False, objective=EncDecFeatureConverter(pack=False).over(dataset))))
    assert batch["decoder_input_tokens"].shape == (4, 29) and batch["encoder_input_tokens"].shape == (4, 128)


@pytest.mark.parametrize("name", ["roberta", "bert", "electra", "characters"])
def test_masked_text_is_for_encoders(name: str) -> None:
    dataset = opened(name)
    for number, row in enumerate(list(EncoderFeatureConverter(mask_id=4)(dataset))[:20]):
        stored = dataset[number]
        assert np.array_equal(row["encoder_input_tokens"], stored["tokens"])
        if "mask_weights" in stored:
            used = stored["mask_weights"] > 0
            where = stored["mask_positions"][used]
            assert np.flatnonzero(row["encoder_loss_weights"]).tolist() == sorted(where.tolist())
            assert np.array_equal(row["encoder_target_tokens"][where], stored["mask_ids"][used])
        else:
            assert np.array_equal(row["encoder_target_tokens"], stored["targets"])
        whole = (np.arange(len(stored["tokens"])) < stored["num_tokens"]).astype(np.int32)  # BERT's pairs are read as one
        expected = dataset.take([number], ["segment_ids"])["segment_ids"][0] if "document_starts" in stored else whole
        assert np.array_equal(row["encoder_segment_ids"], expected)
        unselected = row["encoder_loss_weights"] == 0
        assert np.array_equal(row["encoder_target_tokens"][unselected], row["encoder_input_tokens"][unselected])


@pytest.mark.parametrize(
    ("name", "converter", "message"),
    [
        ("roberta", LMFeatureConverter(), "text with hidden tokens: only an encoder is trained on it. Use EncoderFeatureConverter"),
        ("roberta", DecoderFeatureConverter(), "text with hidden tokens"),
        ("c4", EncDecFeatureConverter(), "laid out text, which only a decoder predicts. Use LMFeatureConverter"),
        ("t5", EncoderFeatureConverter(4), "pairs of inputs and targets. Use EncDecFeatureConverter"),
    ],
)
def test_what_does_not_belong_together_is_refused(name: str, converter: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        converter(opened(name))


@pytest.mark.parametrize("targets_only", [True, False])
def test_a_prefix_drawn_on_the_fly_is_seen_both_ways(targets_only: bool) -> None:
    dataset = opened("best_fit")
    objective = dataset.objective("prefix_lm")
    converter = PrefixLMFeatureConverter(loss_on_targets_only=targets_only)
    batch = next(iter(dataset.batches(4, shuffle=False, objective=converter.over(dataset, objective))))
    plain = next(iter(dataset.batches(4, shuffle=False, objective=objective)))
    real = batch["decoder_segment_ids"] > 0
    prefix = plain["prefix_mask"].astype(bool) & real
    assert prefix.any()
    assert np.array_equal(batch["decoder_loss_weights"], (real & ~prefix if targets_only else real).astype(np.int32))
    seen = batch["decoder_causal_attention"].astype(bool)
    assert np.array_equal(seen, real & ((batch["decoder_positions"] == 0) | np.pad(prefix[:, :-1], ((0, 0), (1, 0)))))
    assert "decoder_causal_attention" in next(iter(dataset.batches(4, objective=DecoderFeatureConverter().over(dataset, objective))))


def test_masks_drawn_on_the_fly() -> None:
    dataset = opened("best_fit")
    with pytest.raises(ConfigError, match="laid out text"):
        EncoderFeatureConverter(4).over(dataset)
    objective = dataset.objective("roberta", mask_id=4)
    batch = next(iter(dataset.batches(4, objective=EncoderFeatureConverter(4).over(dataset, objective))))
    changed = batch["encoder_input_tokens"] != batch["encoder_target_tokens"]
    assert changed.any() and not (changed & (batch["encoder_loss_weights"] == 0)).any()
