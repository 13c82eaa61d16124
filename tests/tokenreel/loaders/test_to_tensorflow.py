import functools
import json
import operator
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError
from tokenreel.format import schema
from tokenreel.format.manifest import FIXED, INT64_LIST
from tokenreel.loaders import load
from tokenreel.loaders.to_tensorflow import exact, parsed

pytestmark = pytest.mark.tensorflow
COUNT, LENGTH = 50, 13
ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH, padded=True) | {"scores": np.random.default_rng(0).random((COUNT, 3), dtype=np.float32)}


def write(path, arrays, record_format):
    extra = {"scores": schema.Feature(name="scores", dtype="float32", shape=(3,))}
    write_dataset(path, {"train": arrays}, per_shard=16, extra=extra, record_format=record_format)


@pytest.mark.parametrize("record_format", [FIXED, INT64_LIST])
def test_the_native_graph_reads_both_formats(arrays, tmp_path, record_format):
    write(tmp_path / "d", arrays, record_format)
    found = list(parsed(tmp_path / "d", batch_size=8, drop_remainder=False).as_numpy_iterator())
    assert [len(batch["tokens"]) for batch in found] == [8] * 6 + [2]
    for name, values in arrays.items():
        assert np.array_equal(np.concatenate([batch[name] for batch in found]), values)
    assert np.array_equal(np.concatenate([batch["example_id"] for batch in found]), np.arange(COUNT))
    assert (found[0]["tokens"].dtype, found[0]["document_starts"].dtype) == (np.int32, bool)
    shuffled = parsed(tmp_path / "d", batch_size=10, shuffle_buffer=20, seed=3, features=["example_id"])
    ids = [batch["example_id"].tolist() for batch in shuffled.as_numpy_iterator()]
    assert sorted(functools.reduce(operator.iadd, ids, [])) == list(range(COUNT)) and functools.reduce(operator.iadd, ids, []) != list(
        range(COUNT)
    )
    with pytest.raises(ConfigError, match="no feature 'x'"):
        parsed(tmp_path / "d", batch_size=8, features=["x"])
    with pytest.raises(ConfigError, match="no split 'test'"):
        parsed(tmp_path / "d", "test", batch_size=8)


@pytest.mark.parametrize("record_format", [FIXED, INT64_LIST])
@pytest.mark.parametrize(("overlap", "padded", "align"), [(0, False, 1), (1, True, 1), (0, True, 4), (1, False, 1)])
def test_the_native_graph_derives_what_the_loader_does(tmp_path, record_format, overlap, padded, align):
    made = random_examples(40, 16, overlap=overlap, padded=padded)
    config = {"packing": {"seq_len": 16, "overlap": overlap, "align": align}}
    for name, form in (("d", record_format), ("fixed", FIXED)):
        write_dataset(tmp_path / name, {"train": made}, overlap=overlap, record_format=form, config=config)
    dataset = load(tmp_path / "fixed")
    for features in (
        ["tokens", "segment_ids", "positions", "loss_weights", "padding_mask"],
        ["loss_weights", "inputs", "targets", "segment_ids", "padding_mask"],
        ["padding_mask"],
        ["inputs"],
    ):
        for across in (False, True):
            expected = dataset.take(np.arange(40), features, across_documents=across)
            found = parsed(tmp_path / "d", batch_size=40, features=features, across_documents=across)
            (batch,) = found.as_numpy_iterator()
            assert set(batch) == set(features)
            for name, values in expected.items():
                assert batch[name].dtype == values.dtype and np.array_equal(batch[name], values), name
                assert tuple(found.element_spec[name].shape)[1:] == values.shape[1:]


def test_the_exact_order(arrays, tmp_path):
    import tensorflow as tf

    write(tmp_path / "d", arrays, FIXED)
    dataset = load(tmp_path / "d")
    expected = list(dataset.batches(8, seed=2, epochs=2))
    pipeline = exact(dataset.batches(8, seed=2, epochs=2))
    assert pipeline.element_spec["tokens"] == tf.TensorSpec((8, LENGTH), tf.int32)
    found = list(pipeline.as_numpy_iterator())
    assert len(found) == len(expected) == 12
    for batch, other in zip(expected, found, strict=True):
        assert all(np.array_equal(values, other[name]) for name, values in batch.items())
    running = dataset.batches(8, seed=2, epochs=2)
    next(running), next(running)
    rest = list(exact(running).as_numpy_iterator())
    assert [batch["example_id"].tolist() for batch in rest] == [batch["example_id"].tolist() for batch in expected[2:]]
    ragged_end = list(exact(dataset.batches(8, epochs=1, drop_remainder=False)).as_numpy_iterator())
    assert [len(batch["tokens"]) for batch in ragged_end] == [8] * 6 + [2]
    endless = exact(dataset.batches(8, seed=2)).take(20)
    assert sum(1 for _ in endless) == 20
    bounds = {"features": ["tokens", "cu_seqlens", "max_seqlen"], "seed": 2, "epochs": 1}
    sized = exact(dataset.batches(8, **bounds, cu_seqlens_size=120))
    assert sized.element_spec["cu_seqlens"].shape == (120,) and sized.element_spec["max_seqlen"].shape == ()
    for batch, other in zip(dataset.batches(8, **bounds, cu_seqlens_size=120), sized.as_numpy_iterator(), strict=True):
        assert all(np.array_equal(values, other[name]) for name, values in batch.items())
    with pytest.raises(ConfigError, match=r"tf\.data needs shapes that do not change: declare the size"):
        exact(dataset.batches(8, **bounds))
    with pytest.raises(ConfigError, match="a run over several hosts cuts batches by rows"):
        exact(dataset.batches(8, **bounds, cu_seqlens_size=120, hosts=2))
    half = exact(dataset.batches(8, hosts=2, host=1))
    assert half.element_spec["tokens"].shape == (4, LENGTH)


def test_the_exact_order_is_checkpointed_by_its_index(arrays, tmp_path):
    import tensorflow as tf

    write(tmp_path / "d", arrays, FIXED)
    dataset = load(tmp_path / "d")
    expected = [batch["example_id"].tolist() for batch in dataset.batches(8, seed=2, epochs=1)]
    iterator = iter(exact(dataset.batches(8, seed=2, epochs=1)))
    next(iterator), next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "checkpoint"))
    again = iter(exact(dataset.batches(8, seed=2, epochs=1)))
    tf.train.Checkpoint(iterator=again).restore(path)
    assert [batch["example_id"].numpy().tolist() for batch in again] == expected[2:]


FAILING = """
import sys, time
import tensorflow as tf
import tokenreel
from tokenreel.loaders.to_tensorflow import exact

class Slow:
    def apply(self, arrays, example_ids, *, seed, variant, epoch):
        if len(example_ids) > 1:  # not the sample that tells the shapes
            time.sleep(60)
        return arrays

dataset = tokenreel.load(sys.argv[1])
plain = iter(exact(dataset.batches(2, seed=1)))
buffered = iter(exact(dataset.batches(2, seed=1)).map(lambda batch: batch["tokens"], num_parallel_calls=4).prefetch(50))
slow = iter(exact(dataset.batches(2, objective=Slow())).prefetch(2))
next(plain), next(buffered)
import threading
threading.Thread(target=lambda: next(slow), daemon=True).start()
time.sleep(0.5)  # in the middle of a read
raise SystemExit("failed early")
"""


def test_a_script_that_fails_early_ends(arrays, tmp_path):
    """A read that TensorFlow had asked for kept the interpreter from ending in three of four runs."""
    write(tmp_path / "d", arrays, FIXED)
    for _ in range(3):
        result = subprocess.run(
            [sys.executable, "-c", FAILING, str(tmp_path / "d")], env=quiet(), capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 1 and "failed early" in result.stderr


def quiet(**more):
    return os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""} | more


WORKER = """
import json, sys
import tensorflow as tf
import tokenreel
from tokenreel.loaders.to_tensorflow import exact

strategy = tf.distribute.MultiWorkerMirroredStrategy()
dataset = tokenreel.load(sys.argv[1])
rank = json.loads(__import__("os").environ["TF_CONFIG"])["task"]["index"]

def rows(distributed, steps):
    found = []
    for _, batch in zip(range(steps), distributed):
        (ids,) = strategy.experimental_local_results(batch["example_id"])
        found.append(ids.numpy().tolist())
    return found

def of_host(context):
    return exact(dataset.batches(8, seed=3, epochs=1, hosts=context.num_input_pipelines, host=context.input_pipeline_id))

print("found", json.dumps({
    "function": rows(strategy.distribute_datasets_from_function(of_host), 6),
    "whole": rows(strategy.experimental_distribute_dataset(exact(dataset.batches(8, seed=3, epochs=1))), 6),
    "share": rows(strategy.experimental_distribute_dataset(exact(dataset.batches(8, seed=3, epochs=1, hosts=2, host=rank))), 12),
}))
"""


def test_two_workers_of_a_strategy_get_every_row_once(arrays, tmp_path):
    write(tmp_path / "d", arrays, FIXED)
    probes = [socket.socket() for _ in range(2)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "d")],
            env=quiet(TF_CONFIG=json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ranks = []
    for process in processes:
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        ranks.append(json.loads(output.split("found ", 1)[1]))
    expected = [batch["example_id"].tolist() for batch in load(tmp_path / "d").batches(8, seed=3, epochs=1)]
    for way in ("function", "whole"):
        assert [first + second for first, second in zip(ranks[0][way], ranks[1][way], strict=True)] == expected
    for rank, half in enumerate((slice(0, 4), slice(4, 8))):  # a share that the strategy cuts again comes in more steps, and is complete
        assert [len(ids) for ids in ranks[rank]["share"]] == [2] * 12
        assert [i for ids in ranks[rank]["share"] for i in ids] == [i for ids in expected for i in ids[half]]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("roberta", ["tokens", "targets", "target_weights", "segment_ids", "padding_mask", "example_id"]),
        ("t5", ["inputs", "targets", "loss_weights", "example_id"]),
        ("ul2", ["loss_weights", "example_id"]),
    ],
)
def test_parsed_examples_of_objectives_have_the_fields_of_the_loader(name, names):
    from tests.golden.builds import DATASETS
    from tokenreel.loaders import load
    from tokenreel.loaders.to_tensorflow import parsed

    path = str(DATASETS / "v2" / name)
    batch = next(iter(parsed(path, batch_size=8, features=names)))
    expected = load(path).take(batch["example_id"].numpy(), names)
    for field in names:
        assert np.array_equal(batch[field].numpy(), expected[field]) and batch[field].numpy().dtype == expected[field].dtype, field
    assert expected[names[2] if len(names) > 2 else names[0]].any()
