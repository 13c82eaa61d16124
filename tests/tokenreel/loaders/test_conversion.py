import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.loaders.conversion import Conversion

BATCH = {"inputs": np.array([[1, 70_000]], np.int32), "loss_weights": np.array([[1, 0]], np.float32), "example_id": np.array([3], np.int64)}


def test_names_and_dtypes():
    converted = Conversion({"inputs": "input_ids"}, {"inputs": "int64", "loss_weights": np.float16, "example_id": "int32"})(BATCH)
    assert {name: str(values.dtype) for name, values in converted.items()} == {
        "input_ids": "int64", "loss_weights": "float16", "example_id": "int32"
    }  # fmt: skip
    assert converted["input_ids"].tolist() == [[1, 70_000]]


def test_two_fields_may_exchange_their_names():
    converted = Conversion({"inputs": "example_id", "example_id": "inputs"})(BATCH)
    assert converted["inputs"].tolist() == [3] and converted["example_id"].shape == (1, 2)


def test_without_changes_a_batch_is_handed_on():
    assert Conversion()(BATCH) is BATCH


@pytest.mark.parametrize(
    ("rename", "dtypes", "message"),
    [
        ({"tokens": "input_ids"}, {}, "rename names 'tokens', which a batch does not hold; it holds inputs, loss_weights, example_id"),
        ({}, {"tokens": "int64"}, "dtypes names 'tokens'"),
        ({"inputs": "example_id"}, {}, "rename gives a field the name 'example_id', which another one has"),
        ({"inputs": "x", "example_id": "x"}, {}, "rename gives 'x' to inputs and example_id"),
        ({}, {"inputs": "bfloat17"}, "NumPy has no dtype 'bfloat17' for inputs"),
        ({}, {"inputs": "uint16"}, "inputs holds 1 to 70000, which uint16 cannot hold"),
    ],
)
def test_what_cannot_be(rename, dtypes, message):
    with pytest.raises(ConfigError, match=message):
        Conversion(rename, dtypes)(BATCH)


RENAME, DTYPES = {"inputs": "input_ids", "example_id": "row"}, {"inputs": "int16", "loss_weights": "float16"}
WANTED = {"input_ids": "int16", "loss_weights": "float16", "row": "int64"}
FEATURES = ["inputs", "loss_weights", "example_id"]


def run(dataset):
    return dataset.batches(4, shuffle=False, epochs=1, features=FEATURES, rename=RENAME, dtypes=DTYPES)


def dtypes_of(batch):
    return {name: str(values.dtype).removeprefix("torch.") for name, values in batch.items()}


def test_batches(dataset):
    batches = run(dataset)
    batch = next(batches)
    assert dtypes_of(batch) == dtypes_of(batches.example_batch()) == dtypes_of(batches.batch_at(4, rows=[1])) == WANTED
    plain = next(dataset.batches(4, shuffle=False, features=FEATURES))
    assert (batch["input_ids"] == plain["inputs"]).all() and (batch["row"] == plain["example_id"]).all()
    assert next(dataset.batches(4, rename={"tokens": "ids"}, shuffle=False)).keys() >= {"ids", "example_id"}


def test_a_run_that_cannot_be_is_refused_when_it_is_made(dataset):
    with pytest.raises(ConfigError, match="rename names 'tokens', which a batch does not hold; it holds inputs"):
        dataset.batches(4, features=["inputs"], rename={"tokens": "ids"})


def test_the_cursor_is_found_under_another_name(dataset):
    batches = dataset.batches(4, features=["tokens", "cursor"], rename={"cursor": "delivered"})
    first, _ = next(batches), next(batches)
    assert batches.state_after(first)["cursor"] == 4


def test_jax(dataset):
    import jax

    from tokenreel.loaders.to_jax import JaxBatches

    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    assert dtypes_of(next(JaxBatches(run(dataset), sharding))) == WANTED | {"row": "int32"}  # JAX has no int64 unless told


def test_grain(dataset):
    from tokenreel.loaders.to_grain import BatchSource, ExampleSource

    source = ExampleSource(dataset, FEATURES, rename=RENAME, dtypes=DTYPES)
    assert dtypes_of(source[3]) == dtypes_of(BatchSource(run(dataset))[0]) == WANTED
    assert repr(source) != repr(ExampleSource(dataset, FEATURES))


@pytest.mark.torch
def test_torch(dataset):
    from tokenreel.loaders.to_torch import TorchBatches, TorchExamples

    assert dtypes_of(next(iter(TorchBatches(run(dataset))))) == WANTED
    assert dtypes_of(TorchExamples(dataset, FEATURES, rename=RENAME, dtypes=DTYPES)[3]) == WANTED


@pytest.mark.tensorflow
def test_tensorflow(dataset):
    from tokenreel.loaders import to_tensorflow

    parsed = to_tensorflow.parsed(dataset.path, batch_size=4, features=FEATURES, rename=RENAME, dtypes=DTYPES)
    for batches in (parsed, to_tensorflow.exact(run(dataset))):
        assert {name: spec.dtype.name for name, spec in batches.element_spec.items()} == WANTED
        assert {name: values.dtype.name for name, values in next(iter(batches)).items()} == WANTED
