"""Small Keras models that a job builds by import path."""

from typing import Any

import keras
from keras import layers, ops


def causal(vocab_size: int = 600, width: int = 16, seed: int = 1) -> Any:
    """A model over a window of three tokens, whose head is its embedding, reversed; large weights, so that its opinions are strong."""
    keras.utils.set_random_seed(seed)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="int32", name="padding_mask")
    embedding = layers.ReversibleEmbedding(vocab_size, width, embeddings_initializer="random_normal", name="token_embedding")
    hidden = layers.Conv1D(width, 3, padding="causal", activation="gelu", name="block")(embedding(ids) * 20.0)
    hidden = hidden * ops.expand_dims(ops.cast(mask, hidden.dtype), -1)
    hidden = layers.LayerNormalization(name="norm")(hidden)
    return keras.Model({"token_ids": ids, "padding_mask": mask}, hidden * 30.0)


def nested(vocab_size: int = 600, width: int = 16, seed: int = 1) -> Any:
    """The same below a head of its own, as tasks of keras-hub stand above their backbones."""
    backbone = causal(vocab_size, width, seed)
    logits = layers.Dense(vocab_size, name="logits")(backbone(backbone.input))
    return keras.Model(backbone.input, logits)


def at_masks(vocab_size: int = 600, width: int = 16, seed: int = 1) -> Any:
    """A masked language model that predicts at the mask positions alone, as those of keras-hub do."""
    backbone = causal(vocab_size, width, seed)
    positions = keras.Input((None,), dtype="int32", name="mask_positions")
    found = ops.take_along_axis(backbone(backbone.input), ops.expand_dims(positions, -1), axis=1)
    logits = layers.Dense(vocab_size, name="logits")(found)
    return keras.Model({**backbone.input, "mask_positions": positions}, logits)


def encoder_decoder(vocab_size: int = 600, width: int = 16, seed: int = 1) -> Any:
    """Two towers of which the decoder sees the mean of the encoder, with the outputs of a backbone of keras-hub."""
    keras.utils.set_random_seed(seed)
    shapes = ("encoder_token_ids", "encoder_padding_mask", "decoder_token_ids", "decoder_padding_mask")
    given = {name: keras.Input((None,), dtype="int32", name=name) for name in shapes}
    embedding = layers.ReversibleEmbedding(vocab_size, width, name="token_embedding")
    mask = ops.expand_dims(ops.cast(given["encoder_padding_mask"], "float32"), -1)
    encoded = layers.Dense(width, activation="gelu", name="encoder")(embedding(given["encoder_token_ids"])) * mask
    mean = ops.sum(encoded, axis=1, keepdims=True) / ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1.0)
    decoded = layers.Conv1D(width, 2, padding="causal", name="decoder")(embedding(given["decoder_token_ids"])) + mean
    return keras.Model(given, {"encoder_sequence_output": encoded, "decoder_sequence_output": decoded})
