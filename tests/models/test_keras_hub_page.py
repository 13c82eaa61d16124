"""The code on the page about keras-hub, with its models."""

import os
import pathlib
import re

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")

from tests.datasets import random_examples, write_dataset
from tokenreel.loaders import load

pytestmark = pytest.mark.models
PAGE = pathlib.Path(__file__).parents[2] / "docs/keras_hub.md"
SIZES = {"vocabulary_size": 50, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 16}


@pytest.fixture(scope="module")
def page():
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(block, "keras_hub.md", "exec"), names)
    return names


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(40, 16, padded=True, vocab_size=50)}, vocab_size=50)
    return load(path)


def trains(model, data, inputs):
    """Fits one step, and says whether the model reads exactly its own inputs, with the dtypes that it names."""
    x, _, _ = data[0]
    assert set(x) == set(model.input) == set(inputs) and all(values.dtype == np.int32 for values in x.values())
    model.compile("adam", "sparse_categorical_crossentropy")
    (loss,) = model.fit(data, steps_per_epoch=1, epochs=1, shuffle=False, verbose=0).history["loss"]
    return np.isfinite(loss)


def test_gpt2(page, dataset):
    import keras_hub

    task = keras_hub.models.GPT2CausalLM(keras_hub.models.GPT2Backbone(**SIZES), preprocessor=None)
    data = page["gpt2_batches"](dataset, task, 8)
    with pytest.raises((TypeError, ValueError)):  # which the page says, and a release may change
        task.fit(data, steps_per_epoch=1, epochs=1)
    assert trains(page["trainable"](task), data, ["token_ids", "padding_mask"])
    x, y, weights = data[0]
    assert (x["padding_mask"] == 0).any() and (x["token_ids"][:, 1:] == y[:, :-1]).all()
    assert (weights[:, :-1] == x["padding_mask"][:, 1:]).all(), "every token that follows one is predicted"


@pytest.mark.parametrize("dynamic", [True, False])
def test_roberta(page, dataset, tmp_path, dynamic):
    import keras_hub

    if not dynamic:
        from tests.golden.builds import DATASETS

        dataset = load(DATASETS / "v2/roberta")
    sizes = {**SIZES, "vocabulary_size": dataset.manifest.vocabulary.vocab_size, "max_sequence_length": dataset.manifest.seq_len}
    task = keras_hub.models.RobertaMaskedLM(keras_hub.models.RobertaBackbone(**sizes), preprocessor=None)
    if dynamic:
        made_by = dataset.objective("roberta", mask_id=4)
        dataset = type("Dataset", (), {"batches": dataset.batches, "objective": lambda self, name: made_by})()
    data = page["roberta_batches"](dataset, task, 8, dynamic)
    assert trains(page["trainable"](task), data, ["token_ids", "padding_mask", "mask_positions"])


def test_the_programs_on_the_page_are_those_there_are():
    folder = PAGE.parents[1] / "examples/models"
    listed = re.findall(r"^\| `(\w+)` \| ", PAGE.read_text(encoding="utf-8").partition("## Programs")[2], re.MULTILINE)
    assert set(listed) == {path.stem for path in folder.glob("*.py")} - {"__init__", "common", "sentences"}
