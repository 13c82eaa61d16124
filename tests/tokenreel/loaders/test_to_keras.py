import os
import types

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError
from tokenreel.loaders import load, to_keras

COUNT, LENGTH, VOCABULARY = 40, 8, 50


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(COUNT, LENGTH, overlap=1, vocab_size=VOCABULARY)}, overlap=1, vocab_size=VOCABULARY)
    return load(path)


FEATURES = ["inputs", "targets", "loss_weights", "segment_ids", "positions", "example_id"]


def model_of(names):
    """A model that sees nothing but what its inputs are, and remembers it."""
    import keras

    inputs = {name: keras.Input((LENGTH,), dtype="int32", name=name) for name in names}
    x = keras.layers.Embedding(VOCABULARY, 4)(inputs[names[0]])
    for name in names[1:]:
        x = x + keras.ops.cast(inputs[name], "float32")[..., None] * 0.01
    model = keras.Model(inputs, keras.layers.Dense(VOCABULARY)(x))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_x_has_exactly_the_models_keys(dataset):
    model = model_of(["token_ids", "positions"])
    batches = dataset.batches(8, seed=1, features=FEATURES)
    data = to_keras.KerasBatches(batches, model, inputs={"token_ids": "inputs"})
    expected = next(dataset.batches(8, seed=1, features=FEATURES))
    x, y, weights = data[0]
    assert set(x) == {"token_ids", "positions"}
    assert np.array_equal(x["token_ids"], expected["inputs"]) and np.array_equal(x["positions"], expected["positions"])
    assert np.array_equal(y, expected["targets"]) and np.array_equal(weights, expected["loss_weights"])
    padding = to_keras.KerasBatches(
        batches, inputs={"token_ids": "inputs", "padding_mask": lambda batch: batch["segment_ids"] > 0}, weights=None
    )
    x, _ = padding[0]
    assert set(x) == {"token_ids", "padding_mask"} and x["padding_mask"].all()
    (only,) = to_keras.KerasBatches(batches, inputs=["inputs"], targets=None)[0]
    assert list(only) == ["inputs"]


def test_fit_sees_the_run_in_order(dataset, monkeypatch):
    model = model_of(["token_ids", "positions"])
    seen = []
    batches = dataset.batches(8, seed=1, features=FEATURES)
    next(batches)
    data = to_keras.KerasBatches(
        batches,
        model,
        inputs={"token_ids": lambda batch: seen.append(batch["example_id"].tolist()) or batch["inputs"]},
    )
    seen.clear()
    history = model.fit(data, steps_per_epoch=4, epochs=3, verbose=0)  # shuffle=True is Keras's default and must not matter
    assert np.isfinite(history.history["loss"]).all()
    expected = [batch["example_id"].tolist() for batch, _ in zip(dataset.batches(8, seed=1), range(1 + 12), strict=False)]
    in_order = [ids for ids, before in zip(seen, [None, *seen], strict=False) if ids != before]
    assert in_order[:12] == expected[1:13]
    assert data.num_batches is None
    assert data.get_state(int(model.optimizer.iterations))["cursor"] == 8 + 12 * 8


def test_a_finite_run_evaluates_each_example_once(dataset):
    import keras

    model = model_of(["inputs"])
    batches = dataset.batches(12, shuffle=False, epochs=1, features=FEATURES, drop_remainder=False)
    data = to_keras.KerasBatches(batches, model)
    assert data.num_batches == 4
    loss = model.evaluate(data, verbose=0)
    whole = dataset.take(np.arange(COUNT), FEATURES)
    logits = model.predict({"inputs": whole["inputs"]}, verbose=0)
    each = keras.ops.convert_to_numpy(keras.losses.sparse_categorical_crossentropy(whole["targets"], logits, from_logits=True))
    assert loss == pytest.approx((each * whole["loss_weights"]).sum() / each.size, rel=1e-4)
    predictions = model.predict(to_keras.KerasBatches(batches, model, targets=None), verbose=0)
    assert np.allclose(predictions, logits, atol=1e-5)


def test_models_that_take_inputs_in_order(dataset):
    import keras

    first, second = keras.Input((LENGTH,), dtype="int32", name="inputs"), keras.Input((LENGTH,), dtype="int32", name="positions")
    model = keras.Model([first, second], keras.ops.cast(first + second, "float32"))
    assert to_keras.model_inputs(model) == (["inputs", "positions"], False)
    (x,) = to_keras.KerasBatches(dataset.batches(8, features=FEATURES), model, targets=None)[0]
    assert len(x) == 2 and x[1].max() < LENGTH
    single = keras.Model(first, keras.ops.cast(first, "float32"))
    (x,) = to_keras.KerasBatches(dataset.batches(8, features=FEATURES), single, targets=None)[0]
    assert x.shape == (8, LENGTH)


def test_shares_and_boundaries_are_refused_where_a_strategy_makes_shares(dataset):
    model = model_of(["inputs"])
    model.distribute_strategy = types.SimpleNamespace(num_replicas_in_sync=2)  # as a model of the TensorFlow backend has it
    with pytest.raises(ConfigError, match="these batches are the share of host 1 of 2: give the whole run"):
        to_keras.KerasBatches(dataset.batches(8, features=FEATURES, hosts=2, host=1), model)
    to_keras.KerasBatches(dataset.batches(8, features=FEATURES), model)
    bounds = [*FEATURES, "cu_seqlens"]
    with pytest.raises(ConfigError, match="the distribution cuts batches by rows"):
        to_keras.KerasBatches(dataset.batches(8, features=bounds, cu_seqlens_size=99), model)
    with pytest.raises(ConfigError, match="Keras needs shapes that do not change"):
        to_keras.KerasBatches(dataset.batches(8, features=bounds), inputs=["inputs"])


def test_missing_fields_are_named_before_training(dataset):
    model = model_of(["token_ids", "positions"])
    with pytest.raises(ConfigError, match="no field 'token_ids' for input 'token_ids'; a batch holds inputs"):
        to_keras.KerasBatches(dataset.batches(8, features=FEATURES), model)
    with pytest.raises(ConfigError, match="the model has no input 'mask'; its inputs are"):
        to_keras.KerasBatches(dataset.batches(8, features=FEATURES), model, inputs={"token_ids": "inputs", "mask": "inputs"})
    with pytest.raises(ConfigError, match="no field 'targets' for targets"):
        to_keras.KerasBatches(dataset.batches(8, features=["tokens"]), inputs=["tokens"])
    with pytest.raises(ConfigError, match="give the model, or the names"):
        to_keras.KerasBatches(dataset.batches(8))

    import keras

    with pytest.raises(ConfigError, match="not known before it is called"):
        to_keras.KerasBatches(dataset.batches(8), keras.Sequential([keras.layers.Dense(3)]))
