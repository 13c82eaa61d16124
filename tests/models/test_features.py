"""`tokenreel extract-features` with models of keras-hub: presets with and without a head, masks, an encoder and a decoder."""

from __future__ import annotations

import os
import pathlib
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest
import yaml

import tokenreel
from pipelines import build, extract_features
from tests.logits import asked, log_softmax
from tokenreel.format.features import FeatureStore
from tokenreel.model_features.extractor import Extractor
from tokenreel.model_features.predictions import MASKED, SEQUENCE, Predicting

pytestmark = pytest.mark.models

V, L = 300, 32
SIZES = {"vocabulary_size": V, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
ASKED = asked(vocab_size=V, top_k=2, layers=(("transformer_layer_1", "none", "float32"),))


def chosen(logits: Any, targets: Any) -> Any:
    return np.take_along_axis(log_softmax(logits), np.asarray(targets)[..., None], -1)[..., 0]


def assert_close(found: Any, wanted: Any, share: float = 1e-5) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found.astype(np.float64) - wanted).max() <= share * np.abs(wanted).max()


def make_dataset(directory: pathlib.Path, texts: list[str], **settings: Any) -> str:
    (directory / "text.txt").write_text("\n".join(" ".join(text.split())[:300] for text in texts[:12]))
    config = {
        "output": str(directory / "built"),
        "sources": [{"files": ["text.txt"], "format": "lines"}],
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": L, "last_example": "pad"},
        **settings,
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    assert build.main([str(directory / "config.yaml"), "--direct_num_workers=1"]) == 0
    return str(directory / "built")


@pytest.mark.parametrize("with_head", [True, False])
def test_one_preset_serves_backbone_and_head(tmp_path: pathlib.Path, texts: list[str], with_head: bool) -> None:
    import keras
    import keras_hub

    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.GPT2Backbone(**SIZES, max_sequence_length=L)
    task = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    preset = tmp_path / "preset"
    (task if with_head else backbone).save_to_preset(str(preset))
    dataset = make_dataset(tmp_path, texts)
    config = {
        "output": str(tmp_path / "features"),
        "dataset": dataset,
        "model": {"path": str(preset)},
        "logits": {"top_k": 3, "top_k_dtype": "float32"},
        "layers": [{"name": "transformer_layer_0", "pool": "mean", "dtype": "float32"}, {"name": "layer_norm", "dtype": "float16"}],
    }
    (tmp_path / "features.yaml").write_text(yaml.safe_dump(config))
    assert extract_features.main([str(tmp_path / "features.yaml"), "--direct_num_workers=1"]) == 0
    examples = tokenreel.load(dataset)
    numbers = np.arange(len(examples))
    arrays = examples.take(numbers, ["inputs", "targets", "loss_weights", "segment_ids"])
    real = arrays["segment_ids"] > 0
    given = {"token_ids": arrays["inputs"], "padding_mask": real}
    logits = np.asarray(task(given))
    found = FeatureStore(str(tmp_path / "features")).take("train", numbers)
    assert_close(found["logprobs"], np.where(arrays["loss_weights"] > 0, chosen(logits, arrays["targets"]), 0))
    order = np.argsort(-logits, axis=-1, kind="stable")[..., :3]
    best = np.take_along_axis(logits, order, -1)
    assert_close(found["topk_values"], np.where(real[..., None], best, 0))
    apart = real & (np.diff(best, axis=-1) < -1e-5).all(axis=-1)  # nearly equal logits may change places
    assert apart.mean() > 0.5
    np.testing.assert_array_equal(found["topk_ids"][..., 0][apart], order[..., 0][apart])
    inner = keras.Model(backbone.input, [backbone.get_layer(name).output for name in ("transformer_layer_0", "layer_norm")])
    first, last = (np.asarray(each) for each in inner(given))
    assert_close(found["layer.transformer_layer_0"], (first * real[..., None]).sum(1) / real.sum(1)[:, None])
    assert_close(found["layer.layer_norm"], np.where(real[..., None], last, 0), 1e-3)


@pytest.mark.parametrize("kind", ["Roberta", "Bert"])
def test_masks_are_predicted_by_the_head_of_masked_models(tmp_path: pathlib.Path, texts: list[str], kind: str) -> None:
    import keras_hub

    backbone = getattr(keras_hub.models, f"{kind}Backbone")(**SIZES, max_sequence_length=L)
    task = getattr(keras_hub.models, f"{kind}MaskedLM")(backbone, preprocessor=None)
    dataset = tokenreel.load(make_dataset(tmp_path, texts, objective={"name": "masked_lm", "mask_id": 258, "rate": 0.2}))
    predicting = Predicting(kind=MASKED, stored=tuple(name for name in dataset.features if name != "example_id"), keras_segments=True)
    extractor = Extractor(task, predicting, ASKED)
    arrays = dataset.take(np.arange(6), extractor.predicting.fields)
    found = extractor(extractor.predicting.arrange(arrays))
    mask = arrays["segment_ids"] > 0
    given = {"token_ids": arrays["tokens"], "padding_mask": mask, "mask_positions": arrays["mask_positions"]}
    given |= {"segment_ids": np.zeros_like(arrays["tokens"])} if kind == "Bert" else {}
    wanted = np.where(arrays["mask_weights"] > 0, chosen(task(given), arrays["mask_ids"]), 0)
    assert found.logprobs is not None
    assert_close(found.logprobs, wanted)
    assert extractor.fields.get("segment_ids", "token_types") == "token_types"


@pytest.mark.parametrize("kind", ["T5", "Bart"])
def test_targets_of_encoder_decoders(kind: str) -> None:
    import keras_hub

    model: Any
    if kind == "T5":
        model = keras_hub.models.T5Backbone(**SIZES, key_value_dim=8)
    else:
        model = keras_hub.models.BartSeq2SeqLM(keras_hub.models.BartBackbone(**SIZES, max_sequence_length=L), preprocessor=None)
    random = np.random.default_rng(2)
    arrays = {
        "inputs": random.integers(3, V, (4, 12)).astype(np.int32),
        "targets": random.integers(3, V, (4, 5)).astype(np.int32),
        "num_inputs": np.array([12, 7, 12, 3]),
        "num_targets": np.array([5, 2, 4, 5]),
    }
    predicting = Predicting(kind=SEQUENCE, stored=tuple(arrays))
    wanted = asked(vocab_size=V, top_k=2, layers=(("transformer_encoder_layer_0", "mean", "float32"),))
    extractor = Extractor(model, predicting, wanted)
    found = extractor(extractor.predicting.arrange(arrays))
    real = np.arange(5) < arrays["num_targets"][:, None]
    given = {
        "encoder_token_ids": arrays["inputs"],
        "encoder_padding_mask": np.arange(12) < arrays["num_inputs"][:, None],
        "decoder_token_ids": np.concatenate([np.zeros((4, 1), np.int32), arrays["targets"][:, :-1]], axis=1),
        "decoder_padding_mask": real,
    }
    logits = model(given)
    if kind == "T5":
        logits = model.token_embedding(logits["decoder_sequence_output"], reverse=True)
    assert found.logprobs is not None
    assert_close(found.logprobs, np.where(real, chosen(logits, arrays["targets"]), 0))
    assert found.arrays["layer.transformer_encoder_layer_0"].shape == (4, 16)
