"""What is kept of what a model says: every kind of head and target, compared with the model itself."""

from __future__ import annotations

import dataclasses
import os
import pathlib

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest
from keras import layers

from tests import buckets
from tests.logits import asked, log_softmax
from tests.pipelines import feature_models
from tokenreel.errors import BuildError, ConfigError
from tokenreel.format.features import LOGPROBS, FeatureSpec
from tokenreel.model_features import keras_models
from tokenreel.model_features.extractor import Extractor
from tokenreel.model_features.predictions import MASKED, NEXT_TOKEN, NOTHING, SEQUENCE, Predicting, kind_of

V, L, N = 30, 7, 4
ASKED = asked(vocab_size=V, top_k=3)
RNG = np.random.default_rng(5)
TOKENS = RNG.integers(1, V, (N, L)).astype(np.int32)
STARTS = np.zeros((N, L), bool)
STARTS[:, [0, 3]] = True
CAUSAL = {
    "tokens": TOKENS,
    "document_starts": STARTS,
    "inputs": TOKENS,
    "targets": np.concatenate([TOKENS[:, 1:], np.zeros((N, 1), np.int32)], axis=1),
    "loss_weights": np.array([[1, 1, 0, 1, 1, 1, 0]] * N, np.float32),
    "segment_ids": np.array([[1, 1, 1, 2, 2, 2, 2]] * N, np.int32),
    "positions": np.array([[0, 1, 2, 0, 1, 2, 3]] * N, np.int32),
}
NEXT = Predicting(kind=NEXT_TOKEN, stored=("tokens", "document_starts"))


def test_a_model_with_a_head_inside_of_which_a_backbone_lies() -> None:
    model = feature_models.nested(V)
    asked = dataclasses.replace(ASKED, layers=(("block", "none", "float32"), ("norm", "last", "float32")))
    found = Extractor(model, NEXT, asked)(NEXT.arrange(CAUSAL))
    given = {"token_ids": TOKENS, "padding_mask": np.ones_like(TOKENS)}
    chosen = np.take_along_axis(log_softmax(model(given)), CAUSAL["targets"][..., None], -1)[..., 0]
    np.testing.assert_allclose(found.logprobs, np.where(CAUSAL["loss_weights"] > 0, chosen, 0), rtol=1e-5, atol=1e-5)
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    inner = keras.Model(backbone.input, [backbone.get_layer(name).output for name in ("block", "norm")])
    block, norm = (np.asarray(each) for each in inner(given))
    np.testing.assert_allclose(found.arrays["layer.block"], block, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.arrays["layer.norm"], norm[:, -1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["embedding", "layer"])
def test_heads_that_are_not_tied(head: str) -> None:
    """An embedding with weights of its own for the way back, and a layer that the output does not go through."""
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    embedding = layers.ReversibleEmbedding(V, 5, tie_weights=False, name="token_embedding")
    hidden = layers.Dense(5, name="hidden")(embedding(ids))
    logits = layers.Dense(V, name="lm_head")(hidden)
    model = keras.Model(ids, hidden if head == "embedding" else [layers.Dense(2, name="classes")(hidden), logits])
    asked = dataclasses.replace(ASKED, head=head, hidden="hidden", head_layer="lm_head" if head == "layer" else None)
    found = Extractor(model, NEXT, asked)(NEXT.arrange(CAUSAL))
    states = np.asarray(keras.Model(ids, hidden)(TOKENS))
    wanted = embedding(states, reverse=True) if head == "embedding" else model.get_layer("lm_head")(states)
    chosen = np.take_along_axis(log_softmax(wanted), CAUSAL["targets"][..., None], -1)[..., 0]
    np.testing.assert_allclose(found.logprobs, np.where(CAUSAL["loss_weights"] > 0, chosen, 0), rtol=1e-5, atol=1e-5)


POSITIONS = np.array([[1, 4, 6], [0, 2, 0], [3, 0, 0], [1, 2, 3]], np.int32)
WEIGHTS = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], np.int32)
MASKS = {
    "tokens": TOKENS,
    "document_starts": STARTS,
    "segment_ids": CAUSAL["segment_ids"],
    "positions": CAUSAL["positions"],
    "mask_positions": POSITIONS,
    "mask_ids": RNG.integers(1, V, (N, 3)).astype(np.int32),
    "mask_weights": WEIGHTS,
}


@pytest.mark.parametrize("at_masks", [True, False])
def test_masked_tokens_are_predicted_at_their_positions_alone(at_masks: bool) -> None:
    predicting = Predicting(kind=MASKED, stored=("tokens", "document_starts", "mask_positions", "mask_ids", "mask_weights"))
    model = feature_models.at_masks(V) if at_masks else feature_models.causal(V)
    extractor = Extractor(model, predicting, ASKED)
    arranged = predicting.arrange(MASKS)
    found = extractor(arranged)
    given = {"token_ids": TOKENS, "padding_mask": np.ones_like(TOKENS)}
    if at_masks:
        logits = np.asarray(model({**given, "mask_positions": POSITIONS}))
    else:
        everywhere = np.asarray(model.get_layer("token_embedding")(model(given), reverse=True))
        logits = np.take_along_axis(everywhere, POSITIONS[..., None], 1)
    chosen = np.take_along_axis(log_softmax(logits), MASKS["mask_ids"][..., None], -1)[..., 0]
    np.testing.assert_allclose(found.logprobs, np.where(WEIGHTS > 0, chosen, 0), rtol=1e-4, atol=1e-4)
    assert [len(each[LOGPROBS]) for each in found.examples(0, N)] == [3, 2, 1, 3]
    assert arranged.segments is not None and arranged.segments[0].tolist() == [1, 2, 2]


def test_the_targets_of_an_encoder_decoder() -> None:
    stored = ("inputs", "targets", "num_inputs", "num_targets")
    arrays = {"inputs": TOKENS, "targets": TOKENS[:, 1:5], "num_inputs": np.array([7, 5, 7, 1]), "num_targets": np.array([4, 2, 3, 4])}
    predicting = Predicting(kind=SEQUENCE, stored=stored, start_id=9)
    model = feature_models.encoder_decoder(V)
    asked = dataclasses.replace(ASKED, layers=(("encoder", "none", "float32"), ("decoder", "none", "float32")))
    found = Extractor(model, predicting, asked)(predicting.arrange(arrays))
    read = np.arange(L) < arrays["num_inputs"][:, None]
    decoder = np.concatenate([np.full((N, 1), 9), TOKENS[:, 1:4]], axis=1)
    real = np.arange(4) < arrays["num_targets"][:, None]
    given = {"encoder_token_ids": TOKENS, "encoder_padding_mask": read, "decoder_token_ids": decoder, "decoder_padding_mask": real}
    hidden = model(given)["decoder_sequence_output"]
    logits = model.get_layer("token_embedding")(hidden, reverse=True)
    chosen = np.take_along_axis(log_softmax(logits), arrays["targets"][..., None], -1)[..., 0]
    np.testing.assert_allclose(found.logprobs, np.where(real, chosen, 0), rtol=1e-4, atol=1e-4)
    lengths = {name: [len(each[name]) for each in found.examples(0, N)] for name in ("layer.encoder", "layer.decoder", LOGPROBS)}
    assert lengths == {"layer.encoder": [7, 5, 7, 1], "layer.decoder": [4, 2, 3, 4], LOGPROBS: [4, 2, 3, 4]}
    assert not predicting.tells_documents


def test_layers_alone_need_no_targets() -> None:
    predicting = Predicting(kind=NOTHING, stored=("encoder_input_tokens",))
    model = keras.Sequential([keras.Input((None,), dtype="int32", name="token_ids"), layers.Embedding(V, 4, name="embedded")])
    asked = dataclasses.replace(ASKED, logits=False, layers=(("embedded", "mean", "bfloat16"),))
    padded = np.where(np.arange(L) < 3, TOKENS, 0)
    found = Extractor(model, predicting, asked)(predicting.arrange({"encoder_input_tokens": padded}))
    wanted = np.asarray(model(padded))[:, :3].mean(axis=1)
    read = FeatureSpec(dtype="bfloat16", shape=(4,), trimmed=False).to_read(found.arrays["layer.embedded"])
    np.testing.assert_allclose(read, wanted, atol=1e-2 * np.abs(wanted).max())


def test_numbers_that_cannot_be_stored_stop_the_job() -> None:
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    large = keras.layers.Embedding(V, 3, embeddings_initializer=keras.initializers.Constant(1e6), name="large")(ids)
    model = keras.Model(ids, large)
    predicting = Predicting(kind=NOTHING, stored=("tokens",))
    for dtype in ("float16", "bfloat16"):
        asked = dataclasses.replace(ASKED, logits=False, layers=(("large", "none", dtype),))
        if dtype == "float16":
            with pytest.raises(BuildError, match=r"beyond the range of float16\. Store it as bfloat16"):
                Extractor(model, predicting, asked)(predicting.arrange({"tokens": TOKENS}))
        else:
            Extractor(model, predicting, asked)(predicting.arrange({"tokens": TOKENS}))
    lost = keras.Model(ids, large * float("nan"))
    asked = dataclasses.replace(ASKED, head="output", vocab_size=3, top_k=0)
    small = {**CAUSAL, "targets": np.zeros_like(CAUSAL["targets"])}
    with pytest.raises(BuildError, match="no finite number"):
        Extractor(lost, NEXT, asked)(NEXT.arrange(small))
    with pytest.raises(BuildError, match="is predicted in an example, and the model knows 3 ids"):
        Extractor(lost, NEXT, asked)(NEXT.arrange(CAUSAL))


def test_a_saved_model_says_the_same(tmp_path: pathlib.Path) -> None:
    model, path = feature_models.causal(V), str(tmp_path / "model.keras")
    model.save(path)
    found, again = (Extractor(each, NEXT, ASKED)(NEXT.arrange(CAUSAL)) for each in (model, keras_models.load(path)))
    assert found.logprobs is not None and again.logprobs is not None
    np.testing.assert_array_equal(found.logprobs, again.logprobs)
    with buckets.storage() as remote:
        buckets.upload(tmp_path, remote)
        copied = Extractor(keras_models.load(f"{remote}/model.keras"), NEXT, ASKED)(NEXT.arrange(CAUSAL))
        assert keras_models.digest(f"{remote}/model.keras") == keras_models.digest(path)
    assert copied.logprobs is not None
    np.testing.assert_array_equal(found.logprobs, copied.logprobs)
    for bad, message in ((str(tmp_path / "other.keras"), "cannot be read"), (str(tmp_path / "none"), "no file and no directory")):
        with pytest.raises(ConfigError, match=message):
            keras_models.digest(bad)
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        keras_models.load(str(tmp_path / "broken.keras"))


def test_a_backend_is_chosen_once() -> None:
    with pytest.raises(ConfigError, match="this process runs Keras on jax already, and torch is asked for"):
        keras_models.prepare("torch", 1)


@pytest.mark.parametrize(
    ("stored", "asked", "kind"),
    [
        (("tokens", "document_starts"), "auto", NEXT_TOKEN),
        (("tokens", "document_starts", "mask_positions", "mask_ids", "mask_weights"), "auto", MASKED),
        (("inputs", "targets", "num_inputs", "num_targets"), "auto", SEQUENCE),
        (("decoder_target_tokens", "decoder_loss_weights"), "auto", SEQUENCE),
        (("tokens", "document_starts", "mask_positions", "mask_ids", "mask_weights"), NEXT_TOKEN, NEXT_TOKEN),
    ],
)
def test_what_is_predicted_follows_from_the_fields(stored: tuple[str, ...], asked: str, kind: str) -> None:
    assert kind_of(stored, asked) == kind
