import importlib
import itertools
import json
import os
import pickle

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest

from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders import to_grain, to_jax
from tokenreel.loaders import to_keras as keras_adapter
from tokenreel.loaders import to_tensorflow as tensorflow_adapter
from tokenreel.loaders import to_torch as torch_adapter
from tokenreel.tasks import feature_converters, getting
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.features import Feature
from tokenreel.tasks.mixture import Mixture
from tokenreel.tasks.task import Task
from tokenreel.tasks.vocabularies import PassThroughVocabulary

TOKENS = "decoder_target_tokens"


class Rows:
    def __init__(self, base, count):
        self.base, self.count = base, count

    def __call__(self, split, shuffle_files):
        return [{"targets": [self.base + n] * (n % 3 + 1)} for n in range(self.count)]


def task(name, base, count):
    return Task(name, FunctionDataSource(Rows(base, count), ["train"]), {"targets": Feature(PassThroughVocabulary(1000))})


MIXTURE = Mixture("m", [(task("a", 100, 30), 1), (task("b", 200, 10), 1)])


def rows(pack=False, num_epochs=1, **arguments):
    converter = feature_converters.LMFeatureConverter(pack=pack)
    return getting.get_dataset(MIXTURE, {"targets": 4}, converter, num_epochs=num_epochs, shuffle=True, seed=5, **arguments)


def expected(pack=False, count=None, batch=4):
    """The tokens of the stream's own batches."""
    return [b[TOKENS].tolist() for b in itertools.islice(rows(pack).batch(batch, drop_remainder=True), count)]


def test_batches_are_those_of_the_stream_and_resume_at_every_step():
    for pack in (False, True):
        batches = rows(pack).batches(4)
        assert batches.num_batches == len(expected(pack)) and [b[TOKENS].tolist() for b in batches] == expected(pack)
        assert [b[TOKENS].tolist() for b in batches.__class__.with_rows(rows(pack).batches(4), [2])] == [[b[2]] for b in expected(pack)]
        walk = rows(pack).batches(4)
        for step in range(len(expected(pack)) + 1):
            other = rows(pack).batches(4)
            other.set_state(json.loads(json.dumps(walk.get_state())))
            assert [b[TOKENS].tolist() for b in other] == expected(pack)[step:]
            next(walk, None)
        copy = pickle.loads(pickle.dumps(walk))
        assert [copy.batch_at(4 * step)[TOKENS].tolist() for step in (2, 0)] == [expected(pack)[2], expected(pack)[0]]


def test_hosts_fields_and_the_end():
    halves = [[b[TOKENS].tolist() for b in rows().batches(4, hosts=2, host=host)] for host in (0, 1)]
    assert [first + second for first, second in zip(*halves, strict=True)] == expected()
    short = list(rows().batches(12, drop_remainder=False, features=[TOKENS, "cursor"], rename={TOKENS: "x"}, dtypes={TOKENS: "int64"}))
    assert [len(b["x"]) for b in short] == [12, 12, 12, 4] and short[0]["x"].dtype == np.int64 and short[-1]["cursor"].tolist() == [40] * 4
    endless = rows(num_epochs=None).batches(4)
    assert endless.num_batches is None and len(list(itertools.islice(endless, 30))) == 30
    with pytest.raises(IndexError, match="this stream ends before row 40"):
        rows().batches(4).batch_at(40)
    with pytest.raises(ConfigError, match="has no field 'x'; its fields are"):
        next(rows().batches(4, features=["x"]))
    with pytest.raises(ConfigError, match="this run holds no whole batch of 41"):
        rows().batches(41)
    with pytest.raises(ConfigError, match="have neither pad_remainder nor"):
        rows().batches(4, pad_remainder=True)


def test_states_of_other_streams_are_refused():
    state = rows().batches(4).get_state()
    with pytest.raises(ManifestError, match="a stream with other steps"):
        rows(pack=True).batches(4).set_state(state)
    rows(pack=True).batches(4).set_state(state, allow_changes=True)
    with pytest.raises(ManifestError, match="loader state of format"):
        rows().batches(4).set_state({})
    with pytest.raises(ConfigError, match="does not tell where"):
        rows().batches(4).where(0)
    with pytest.raises(ConfigError, match="does not tell when"):
        rows().batches(4).when(0)


def test_a_read_that_failed_is_made_again():
    """The rows that it had passed were left out."""
    failures = [OSError("once")]

    def fragile(example):
        if example["a"] == 3 and failures:
            raise failures.pop()
        return example

    batches = ExampleStream.from_examples([{"a": i} for i in range(12)]).map(fragile).batches(2)
    found = [next(batches)["a"].tolist()]
    with pytest.raises(OSError, match="once"):
        next(batches)
    found += [next(batches)["a"].tolist() for _ in range(2)]
    assert found == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("cursor", [None, -1, 1.5, True, "2"])
def test_a_malformed_cursor_is_refused(cursor):
    batches = ExampleStream.from_examples([{"a": i} for i in range(12)]).batches(2)
    with pytest.raises(ManifestError, match="its cursor must be a whole number"):
        batches.set_state({**batches.get_state(), "cursor": cursor})


def test_states_of_consumers_that_lag_behind():
    batches = rows(num_epochs=None).batches(4)
    seen = [b[TOKENS].tolist() for b in itertools.islice(batches, 100)]
    for step in (0, 30, 60, 99):  # the first ones are restored by reading from the start
        other = rows(num_epochs=None).batches(4)
        other.set_state(batches.get_state(4 * step))
        assert next(other)[TOKENS].tolist() == seen[step]


def test_grain():
    grain = importlib.import_module("grain")
    dataset = grain.MapDataset.source(to_grain.BatchSource(rows(pack=True).batches(4)))
    assert [b[TOKENS].tolist() for b in dataset] == expected(pack=True)
    iterator = iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=0)))
    next(iterator)
    state = iterator.get_state()
    second = next(iterator)[TOKENS].tolist()
    iterator.set_state(state)
    assert next(iterator)[TOKENS].tolist() == second == expected(pack=True)[1]
    with pytest.raises(ConfigError, match="this run never ends"):
        to_grain.BatchSource(rows(num_epochs=None).batches(4))


def test_jax():
    jax = importlib.import_module("jax")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    batches = to_jax.JaxBatches(rows().batches(4), sharding)
    first = [next(batches)[TOKENS] for _ in range(3)]
    assert isinstance(first[0], jax.Array) and [b.tolist() for b in first] == expected(count=3)
    other = to_jax.JaxBatches(rows().batches(4), sharding)
    other.set_state(batches.get_state())
    assert next(other)[TOKENS].tolist() == expected()[3]


def test_keras():
    keras = importlib.import_module("keras")
    tokens = keras.Input((4,), dtype="int32", name="decoder_input_tokens")
    model = keras.Model({"decoder_input_tokens": tokens}, keras.layers.Dense(1000)(keras.layers.Embedding(1000, 4)(tokens)))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = keras_adapter.KerasBatches(rows().batches(4), model, targets=TOKENS, weights="decoder_loss_weights")
    assert batches.num_batches == 10 and batches[3][1].tolist() == expected()[3]
    history = model.fit(batches, epochs=1, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.torch
def test_torch():
    for workers in (0, 2):
        loader = torch_adapter.TorchBatches(rows().batches(4), num_workers=workers)
        assert len(loader) == 10 and [b[TOKENS].tolist() for b in loader] == expected()
    batches = rows().batches(4)
    loader = torch_adapter.TorchBatches(batches)
    list(itertools.islice(loader, 3))
    other = rows().batches(4)
    other.set_state(batches.get_state())
    assert [b[TOKENS].tolist() for b in torch_adapter.TorchBatches(other)] == expected()[3:]


@pytest.mark.tensorflow
def test_tensorflow():
    dataset = tensorflow_adapter.exact(rows(pack=True).batches(4))
    assert dataset.element_spec[TOKENS].shape == (4, 4)
    assert [b[TOKENS].tolist() for b in dataset.as_numpy_iterator()] == expected(pack=True)
    native = rows().batch(4, drop_remainder=True).to_tf_data()
    assert [b[TOKENS].tolist() for b in native.as_numpy_iterator()] == expected()
