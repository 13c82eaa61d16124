"""Character models that are put together from parts: an embedder, which all share, and towers, each pretrained for something else.

An embedder takes `token_ids` and `segment_ids` and gives a vector for each character, a tower takes those vectors and gives others. Inside,
both shorten what they read by a factor, let the shorter sequence attend within each document, and give it back at its full length, which
may be any. `compose` makes a model of an embedder and towers that takes what an embedder takes, so it may itself be one (cclm's
ComposedModel).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

_register = keras.saving.register_keras_serializable("tokenreel_characters")


class _Factor(keras.layers.Layer):
    """A layer that knows how many characters make one position of the shortened sequence.

    Each tells the shape of what it gives itself: Keras cannot compute with a length that is not known yet.
    """

    def __init__(self, factor: int, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "factor": self.factor}

    def padded(self, length: int | None) -> int | None:
        """Gives the next multiple of the factor; None for a length that is not known."""
        return None if length is None else length + -length % self.factor


@_register
class Positions(keras.layers.Layer):
    """Adds a vector for each position, of sines of falling frequencies (Vaswani et al., arXiv:1706.03762), so that any length has them."""

    def call(self, vectors: Any) -> Any:
        """Takes and gives float [batch, length, width]."""
        half = -(-vectors.shape[-1] // 2)
        rates = ops.exp(ops.arange(half, dtype="float32") * (-9.21034 / half))  # from 1 down to 1 in 10,000
        angles = ops.cast(ops.arange(ops.shape(vectors)[1]), "float32")[:, None] * rates
        table = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)[:, : vectors.shape[-1]]
        return vectors + ops.cast(table, vectors.dtype)


@_register
class PadToFactor(_Factor):
    """Lengthens [batch, length, ...] with zeros to a multiple of `factor`: length + (-length % factor)."""

    def call(self, values: Any) -> Any:
        """Takes [batch, length, ...]."""
        room = [[0, 0] for _ in values.shape]
        room[1][1] = self.padded(values.shape[1]) - values.shape[1]
        return ops.pad(values, room)

    def compute_output_spec(self, values: Any) -> Any:
        """See Keras."""
        return keras.KerasTensor((values.shape[0], self.padded(values.shape[1]), *values.shape[2:]), values.dtype)


@_register
class SameDocument(_Factor):
    """Says which shortened positions may attend to which: those of the same document.

    Documents begin at multiples of `factor` (`packing.align`), or there is one in each row, so the largest id of a stretch is the only one
    beside the 0 of padding.
    """

    def call(self, segment_ids: Any) -> Any:
        """Takes integers [batch, n * factor] and gives booleans [batch, n, n]."""
        ids = ops.max(ops.reshape(segment_ids, (-1, segment_ids.shape[1] // self.factor, self.factor)), axis=-1)
        return ops.equal(ids[:, :, None], ids[:, None, :])

    def compute_output_spec(self, segment_ids: Any) -> Any:
        """See Keras."""
        batch, length = segment_ids.shape
        short = None if length is None else length // self.factor
        return keras.KerasTensor((batch, short, short), "bool")


@_register
class CutTo(keras.layers.Layer):
    """Cuts [batch, longer, width] to the length of another tensor."""

    def call(self, values: Any, like: Any) -> Any:
        """Gives [batch, length of `like`, width]."""
        return values[:, : like.shape[1]]

    def compute_output_spec(self, values: Any, like: Any) -> Any:
        """See Keras."""
        return keras.KerasTensor((*like.shape[:2], values.shape[-1]), values.dtype)


# Of which saved models consist, beside Keras's own: a process that got this module with a function has not registered them.
LAYERS = {keras.saving.get_registered_name(each): each for each in (Positions, PadToFactor, SameDocument, CutTo)}


def load(path: str | os.PathLike[str]) -> keras.Model:
    """Loads a model that was saved, in whichever process."""
    return keras.models.load_model(path, custom_objects=LAYERS)


def attend(vectors: Any, segment_ids: Any, factor: int) -> Any:
    """Adds to each vector what a transformer block makes of the shortened sequence.

    Args:
      vectors: float [batch, length, width].
      segment_ids: integers [batch, length], 0 for padding.
      factor: characters in a position of the shortened sequence.

    Returns:
      float [batch, length, width].
    """
    width = vectors.shape[-1]
    short = keras.layers.Conv1D(width, factor, strides=factor, activation="gelu")(PadToFactor(factor)(vectors))
    mask = SameDocument(factor)(PadToFactor(factor)(segment_ids))
    normal = keras.layers.LayerNormalization()(short)
    short = short + keras.layers.MultiHeadAttention(4, max(width // 4, 1))(normal, normal, attention_mask=mask)
    normal = keras.layers.LayerNormalization()(short)
    short = short + keras.layers.Dense(width)(keras.layers.Dense(2 * width, activation="gelu")(normal))
    full = CutTo()(keras.layers.Conv1DTranspose(width, factor, strides=factor)(short), vectors)  # each of the factor's places by its own
    normal = keras.layers.LayerNormalization()(vectors + full)
    return normal + keras.layers.Dense(width)(keras.layers.Dense(2 * width, activation="gelu")(normal))


def embedder(vocab_size: int, *, width: int = 64, factor: int = 4) -> keras.Model:
    """Makes a model that gives each character a vector: {token_ids, segment_ids} of [batch, length] to float [batch, length, width].

    Args:
      vocab_size: characters and specials.
      width: of the vectors.
      factor: characters in a position of the shortened sequence; a packed dataset has it as `packing.align`.
    """
    inputs = _inputs()
    characters = keras.layers.Embedding(vocab_size, width, keras.initializers.RandomNormal(stddev=1.0))  # as large as the sines
    vectors = Positions()(characters(inputs["token_ids"]))
    return keras.Model(inputs, attend(vectors, inputs["segment_ids"], factor), name="embedder")


def tower(embedder: keras.Model, name: str, *, width: int = 64, factor: int = 4) -> keras.Model:
    """Makes a model on top of an embedder: its vectors and segment ids to float [batch, length, width]."""
    vectors = keras.Input((None, embedder.output.shape[-1]), name="vectors")
    segment_ids = keras.Input((None,), dtype="int32", name="segment_ids")
    found = attend(keras.layers.Dense(width)(vectors), segment_ids, factor)
    return keras.Model({"vectors": vectors, "segment_ids": segment_ids}, found, name=name)


def compose(embedder: keras.Model, towers: Sequence[keras.Model], *, frozen: bool = True) -> keras.Model:
    """Puts towers side by side on an embedder: {token_ids, segment_ids} to float [batch, length, sum of the towers' widths].

    Args:
      embedder: which all towers were pretrained on; it may be a composed model.
      towers: at least one.
      frozen: training changes neither the embedder nor the towers.
    """
    inputs = _inputs()
    vectors = embedder(inputs)
    found = [each({"vectors": vectors, "segment_ids": inputs["segment_ids"]}) for each in towers]
    model = keras.Model(inputs, found[0] if len(found) == 1 else keras.layers.Concatenate()(found), name="composed")
    if frozen:
        model.trainable = False  # the parts too, wherever else they are used
    return model


def _inputs() -> dict[str, Any]:
    return {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids")}
