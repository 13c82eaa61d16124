"""How many shards a process has open: in processes of their own, whose limits are lowered before they start."""

import subprocess
import sys

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.loaders import load
from tokenreel.loaders.records import local_files

LENGTH = 8
START = """
import os, resource, sys
import numpy as np
import tokenreel
from tokenreel.loaders import Mixture
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
opened = lambda: len(os.listdir("/proc/self/fd"))
"""
MIXED = """
datasets = {str(number): tokenreel.load(sys.argv[3], backend=sys.argv[4]) for number in range(9)}
mixture = Mixture(datasets, {name: 1 for name in datasets}, by="examples")
expected = tokenreel.load(sys.argv[3], backend="pread").take(np.arange(260))["tokens"]
most = 0
for step, batch in zip(range(60), mixture.batches(64, seed=1)):
    assert np.array_equal(batch["tokens"], expected[batch["example_id"]])
    most = max(most, opened())
print(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
ONE = """
batches = tokenreel.load(sys.argv[3], backend=sys.argv[4]).batches(2250, epochs=3, seed=1)
seen = [np.sort(batch["example_id"]) for batch in batches]
assert all(np.array_equal(ids, np.arange(2250)) for ids in seen) and len(seen) == 3
print(opened(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
FULL = """
dataset = tokenreel.load(sys.argv[3], backend=sys.argv[4])
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
try:
    dataset[0]
except tokenreel.errors.StorageError as error:
    print(error)
for descriptor in held[:8]:
    os.close(descriptor)
print(dataset[0]["example_id"])
"""


def run(program, *arguments):
    command = [sys.executable, "-c", START + program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """130 shards: nine datasets of it have more than a process may open."""
    path = tmp_path_factory.mktemp("few") / "d"
    write_dataset(path, {"train": random_examples(260, LENGTH)}, per_shard=2)
    return path


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "d"
    write_dataset(path, {"train": random_examples(2250, LENGTH)}, per_shard=2)
    return path


@pytest.mark.parametrize("backend", ["mmap", "pread"])
@pytest.mark.parametrize("soft", [1024, 128])
def test_a_mixture_of_nine_datasets(few, backend, soft):
    most, limit = map(int, run(MIXED, soft, soft, few, backend).split())
    assert most <= soft // 2 + 64 and limit == soft
    most, limit = map(int, run(MIXED, soft, 4096, few, backend).split())
    assert most > 9 * 130 and limit == 4096  # raised where that is allowed


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_a_dataset_of_many_shards(many, backend):
    left, limit = map(int, run(ONE, 1024, 1024, many, backend).split())
    assert left <= 512 + 64 and limit == 1024
    left, limit = map(int, run(ONE, 1024, 20_000, many, backend).split())
    assert left > 1125 and limit == 20_000


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_what_others_hold_open_is_named_with_the_way_out(few, backend):
    error, example = run(FULL, 256, 256, few, backend).splitlines()
    assert "train.tfrecord-00000-of-00130: cannot be opened (Too many open files). This process may open 256 files" in error
    assert "ulimit -n 1024" in error and example == "0"


def test_the_shard_opened_longest_ago_goes_first_of_all_datasets(few, monkeypatch):
    monkeypatch.setattr(local_files, "open_limit", lambda: 3)
    first, second = load(few), load(few, backend="pread")
    for dataset, example in ((first, 0), (second, 0), (first, 2), (first, 4), (second, 2)):
        dataset[example]
    assert (list(first.records._views), list(second.records._open_files)) == ([1, 2], [1])
    del first
    for example in (4, 6, 8):
        second[example]
    assert list(second.records._open_files) == [2, 3, 4]
    assert np.array_equal(second.take(np.arange(260))["example_id"], np.arange(260))
