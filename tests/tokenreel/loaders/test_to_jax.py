import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError
from tokenreel.loaders import Mixture, load
from tokenreel.loaders.to_jax import JaxBatches

ROOT = pathlib.Path(__file__).parents[3]
BATCH, LENGTH = 16, 32


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(100, LENGTH, padded=True)}, per_shard=16)
    return path


def sharding(axes=("data",), spec=("data",)):
    import jax

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape([1] * len(axes)), axes)
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))


def test_global_arrays_equal_the_batches(directory):
    import jax

    dataset = load(directory)
    expected = list(dataset.batches(BATCH, seed=1, epochs=2))
    found = list(JaxBatches(dataset.batches(BATCH, seed=1, epochs=2), sharding()))
    assert len(found) == len(expected) == 12
    for batch, arrays in zip(expected, found, strict=True):
        assert set(batch) == set(arrays)
        for name, values in batch.items():
            assert isinstance(arrays[name], jax.Array) and arrays[name].shape == values.shape
            assert np.array_equal(np.asarray(arrays[name]), values)
    assert found[0]["example_id"].dtype == np.int32 and found[0]["document_starts"].dtype == bool


def test_the_state_is_the_consumers(directory):
    dataset = load(directory)
    whole = [np.asarray(batch["example_id"]).tolist() for batch in JaxBatches(dataset.batches(BATCH, epochs=2), sharding())]
    running = JaxBatches(dataset.batches(BATCH, epochs=2), sharding(), ahead=3)
    for step in range(len(whole) + 1):
        state = json.loads(json.dumps(running.get_state()))
        assert state["cursor"] == step * BATCH
        other = JaxBatches(dataset.batches(BATCH, epochs=2), sharding())
        other.set_state(state)
        assert [np.asarray(batch["example_id"]).tolist() for batch in other] == whole[step:]
        if step < len(whole):
            assert np.asarray(next(running)["example_id"]).tolist() == whole[step]


def test_a_padded_last_batch(directory):
    dataset = load(directory)
    found = list(JaxBatches(dataset.batches(BATCH, epochs=1, pad_remainder=True), sharding()))
    assert len(found) == 7 and np.asarray(found[-1]["example_id"]).tolist()[4:] == [-1] * 12


def test_shardings_by_name_and_over_the_sequence(directory):
    dataset = load(directory)
    both = sharding(("data", "seq"), ("data", "seq"))
    batches = dataset.batches(BATCH, features=["tokens", "example_id"])
    batch = next(JaxBatches(batches, both))
    assert batch["tokens"].sharding == both and batch["example_id"].shape == (BATCH,)
    by_name = JaxBatches(dataset.batches(BATCH, features=["tokens", "example_id"]), {"tokens": both, "example_id": sharding()})
    assert np.array_equal(np.asarray(next(by_name)["tokens"]), np.asarray(batch["tokens"]))
    with pytest.raises(ConfigError, match="no sharding for field 'example_id'"):
        JaxBatches(dataset.batches(BATCH, features=["tokens", "example_id"]), {"tokens": both})
    mixture = Mixture({"a": dataset, "b": dataset}, {"a": 1, "b": 1}, by="examples").batches(BATCH)
    assert next(JaxBatches(mixture, sharding()))["source"].shape == (BATCH,)


def test_what_cannot_be_placed_is_refused(directory):
    dataset = load(directory)
    with pytest.raises(ConfigError, match="cu_seqlens and max_seqlen have no axis of rows, and a sharding cuts batches by rows"):
        JaxBatches(dataset.batches(BATCH, features=["tokens", "max_seqlen"], cu_seqlens_size=99), sharding())
    with pytest.raises(ConfigError, match="drop_remainder=True"):
        JaxBatches(dataset.batches(BATCH, epochs=1, drop_remainder=False), sharding())

    class Wide:
        def apply(self, arrays, example_ids, *, seed, variant, epoch):
            return {"wide": example_ids + 2**40}

    with pytest.raises(ConfigError, match="do not fit JAX's int32"):
        next(JaxBatches(dataset.batches(BATCH, objective=Wide(), features=["wide"]), sharding()))


WORKER = """
import sys
import numpy as np
port, process, processes, path, kind, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5], sys.argv[6]
import jax
jax.config.update("jax_platforms", "cpu")
if processes > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", processes, process)
from tokenreel.loaders import load
from tokenreel.loaders.to_jax import JaxBatches
devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
if kind == "interleaved":
    devices = devices[0::2] + devices[1::2]
shape = (2, 2) if kind == "model" else (4, 1)
mesh = jax.sharding.Mesh(np.array(devices).reshape(shape) if kind != "tensor" else np.array(devices).reshape(2, 2).T, ("data", "model"))
sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
batches = JaxBatches(load(path).batches(16, seed=7, features=["tokens", "example_id"]), sharding)
total = jax.jit(lambda x: x.sum(), out_shardings=jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
found = {"rows": batches.rows}
for step in range(5):
    batch = next(batches)
    found[f"sum/{step}"] = np.asarray(total(batch["tokens"]))  # computed by all processes together
    for shard in batch["tokens"].addressable_shards:
        first, last, _ = shard.index[0].indices(16)
        for row in range(first, last):
            found[f"tokens/{step}/{row}"] = np.asarray(shard.data)[row - first]
np.savez(out, **found)
"""


@pytest.mark.parametrize("kind", ["data", "interleaved", "model", "tensor"])
def test_two_processes_assemble_the_batch_of_one(directory, tmp_path, kind):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    (tmp_path / "worker.py").write_text(WORKER)
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "worker.py"), port, str(number), "2", str(directory), kind, str(tmp_path / f"{number}.npz")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    found = [dict(np.load(tmp_path / f"{number}.npz")) for number in range(2)]
    rows = [part["rows"].tolist() for part in found]
    assert (
        rows
        == {
            "data": [list(range(8)), list(range(8, 16))],
            "interleaved": [[*range(4), *range(8, 12)], [*range(4, 8), *range(12, 16)]],
            "model": [list(range(8)), list(range(8, 16))],
            "tensor": [list(range(16)), list(range(16))],  # both hold all rows, of two model shards
        }[kind]
    )
    expected = load(directory).batches(16, seed=7, prefetch=0)
    for step in range(5):
        tokens = next(expected)["tokens"]
        for own, part in zip(rows, found, strict=True):
            assert part[f"sum/{step}"] == tokens.sum()
            assert {int(name.split("/")[2]) for name in part if name.startswith(f"tokens/{step}/")} == set(own)
            for row in own:
                assert np.array_equal(part[f"tokens/{step}/{row}"], tokens[row])
