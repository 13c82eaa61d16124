"""The example of masked language models: RoBERTa from both kinds of masks, BERT from pairs."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

from tokenreel.loaders import load

pytestmark = pytest.mark.models


def test_masked_tokens_of_other_text_are_found(tmp_path):
    from examples.models import masked_lm

    found = masked_lm.main(["--folder", str(tmp_path), "--steps", "500"])
    assert set(found) == {"static", "dynamic", "bert"}
    for name, result in found.items():
        assert result["losses"][-1] < result["losses"][0] - 1.5, name
        assert result["accuracy"] > result["commonest"] + 0.15, name
    plain = load(tmp_path / "roberta_plain")
    masks: dict[int, list[str]] = {}
    for batch in plain.batches(64, seed=0, objective=plain.objective("roberta"), epochs=2):
        for example, places in zip(batch["example_id"].tolist(), batch["mask_positions"], strict=True):
            masks.setdefault(example, []).append(str(places))
    twice = [places for places in masks.values() if len(places) == 2]
    assert len(twice) > 0.9 * len(plain) and sum(one != other for one, other in twice) > 0.9 * len(twice), "masks are drawn anew"
