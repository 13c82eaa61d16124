"""What keras-hub's models do, which features and examples rely on."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

pytestmark = pytest.mark.models


def test_the_reversed_embedding_gives_the_logits_of_the_task():
    import keras_hub

    sizes = {"vocabulary_size": 50, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 6}
    backbone = keras_hub.models.GPT2Backbone(**sizes)
    task = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    row = {"token_ids": np.array([[5, 6, 7, 0]]), "padding_mask": np.array([[1, 1, 1, 0]])}
    hidden = backbone(row)
    np.testing.assert_array_equal(np.asarray(backbone.token_embedding(hidden, reverse=True)), np.asarray(task(row)))
