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
