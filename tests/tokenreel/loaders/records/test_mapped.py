import os
import pickle

import numpy as np
import pytest

from tests.tokenreel.loaders.conftest import COUNT, shards
from tokenreel.errors import ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.loaders import load
from tokenreel.loaders.records import MappedRecords, local_files


def test_it_pickles_without_its_maps(arrays, directory):
    for backend in ("mmap", "pread"):
        dataset = load(directory, backend=backend, crc="first")
        dataset[0]
        again = pickle.loads(pickle.dumps(dataset))
        assert np.array_equal(again[140]["tokens"], arrays["tokens"][140])


def test_few_open_files_suffice(arrays, directory, monkeypatch):
    monkeypatch.setattr(local_files, "open_limit", lambda: 2)
    order = np.random.default_rng(0).permutation(COUNT)
    for backend in ("mmap", "pread"):
        dataset = load(directory, backend=backend)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        assert np.array_equal(dataset.take(order)["tokens"], arrays["tokens"][order])
        assert not before or len(os.listdir("/proc/self/fd")) <= before + 2
        del dataset


def test_shards_that_vanish_or_shrink_after_opening(copy):
    dataset = load(copy, backend="pread")
    shards(copy)[1].unlink()
    with pytest.raises(ManifestError, match="00001-of-00010: the shard vanished"):
        dataset[20]
    os.truncate(shards(copy)[5], 100)
    with pytest.raises(ManifestError, match="100 bytes"):
        load_ignoring_sizes(copy)[100]


def load_ignoring_sizes(directory):
    manifest = manifests.read(str(directory))
    info = manifest.splits["train"].shards
    from tokenreel.loaders.dataset import Dataset

    return Dataset(str(directory), manifest, "train", MappedRecords(str(directory), info, manifest.fixed_format))
