"""Another build at the same path: no batch mixes its rows with those of the build that was opened."""

import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from tests.buckets import storage, upload
from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming
from tokenreel.loaders import Mixture, load
from tokenreel.storage import files

COUNT, LENGTH, PER_SHARD = 160, 32, 16
BACKENDS = [{"backend": "mmap"}, {"backend": "pread"}, {"crc": "always"}]


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Two builds whose shards are alike in all but their tokens: (arrays, directory, fingerprint) of each."""
    root = tmp_path_factory.mktemp("builds")
    found = []
    for seed in (1, 2):
        arrays = random_examples(COUNT, LENGTH, seed=seed, padded=True)
        told = {"splits": {"train": {"tokens_in_examples": 100, "examples": COUNT}}}
        made = write_dataset(root / str(seed), {"train": arrays}, per_shard=PER_SHARD, statistics=told)
        found.append((arrays, root / str(seed), made.fingerprint))
    return found


def replace(directory: pathlib.Path, other: pathlib.Path) -> None:
    """Overwrites a dataset as a build does: the manifest goes first, and comes last."""
    shutil.rmtree(directory / "provenance")
    for path in sorted(filter(pathlib.Path.is_file, directory.iterdir()), key=lambda path: path.name != naming.MANIFEST):
        path.unlink()
    shutil.copytree(other / "provenance", directory / "provenance")
    for path in sorted(filter(pathlib.Path.is_file, other.iterdir()), key=lambda path: path.name == naming.MANIFEST):
        shutil.copy(path, directory)


def read_on(batches, arrays) -> Exception | None:
    """Reads a run to its end or to an error, which it returns; every row must be of the build that was opened."""
    try:
        for batch in batches:
            assert np.array_equal(batch["tokens"], arrays["tokens"][batch["example_id"]])
    except ManifestError as error:
        return error
    return None


def names_both(error: Exception | None, *fingerprints: str) -> bool:
    return error is not None and all(fingerprint in str(error) for fingerprint in fingerprints)


@pytest.mark.parametrize("options", BACKENDS, ids=str)
def test_a_link_that_moves_changes_nothing(builds, tmp_path, options):
    (arrays, first, fingerprint), (_, second, _) = builds
    (tmp_path / "current").symlink_to(first)
    dataset = load(tmp_path / "current", fingerprint=fingerprint, **options)
    batches = dataset.batches(8, seed=1, epochs=1, prefetch=0, shuffle=False)
    next(batches)
    (tmp_path / "new").symlink_to(second)
    os.replace(tmp_path / "new", tmp_path / "current")
    again = pickle.loads(pickle.dumps(dataset)).batches(8, seed=2, epochs=1, prefetch=0)
    assert read_on(batches, arrays) is None and batches.cursor == COUNT
    assert read_on(again, arrays) is None and again.cursor == COUNT


@pytest.mark.parametrize("options", BACKENDS, ids=str)
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_dataset_that_is_overwritten_is_noticed(builds, tmp_path, options, shuffle):
    (arrays, first, own), (_, second, other) = builds
    directory = shutil.copytree(first, tmp_path / "d")
    dataset = load(directory, fingerprint=own, **options)
    batches = dataset.batches(4, seed=1, epochs=1, prefetch=0, shuffle=shuffle)
    next(batches)
    travelled = pickle.dumps(dataset)
    replace(directory, second)
    assert names_both(read_on(batches, arrays), own, other)
    assert names_both(read_on(pickle.loads(travelled).batches(4, prefetch=0), arrays), own, other)  # as a spawned worker does
    assert load(directory).manifest.fingerprint == other


def test_a_directory_in_the_middle_of_being_overwritten(builds, tmp_path):
    (arrays, first, own), _ = builds
    directory = shutil.copytree(first, tmp_path / "d")
    batches = load(directory).batches(4, prefetch=0)
    (directory / naming.MANIFEST).unlink()
    assert names_both(read_on(batches, arrays), own, "is gone or being replaced")
    shutil.rmtree(directory)
    assert names_both(read_on(batches, arrays), own, "is gone or being replaced")


def test_the_same_build_copied_again_or_touched_is_the_same(builds, tmp_path):
    (arrays, first, _), _ = builds
    directory = shutil.copytree(first, tmp_path / "d")
    batches = load(directory).batches(4, seed=3, epochs=1, prefetch=0)
    next(batches)
    replace(directory, first)
    assert read_on(batches, arrays) is None and batches.cursor == COUNT


def test_shards_copied_over_under_the_old_manifest(builds, tmp_path):
    (arrays, first, _), (_, second, _) = builds
    directory = shutil.copytree(first, tmp_path / "d")
    batches = load(directory).batches(16, epochs=1, prefetch=0, shuffle=False)
    name = naming.shard("train", 3, 10)
    next(batches)
    (directory / "new").write_bytes((second / name).read_bytes())
    os.replace(directory / "new", directory / name)
    error = read_on(batches, arrays)
    assert "00003-of-00010: overwritten after the dataset was opened: crc32c 0x" in str(error) and batches.cursor == 48


def test_what_lies_beside_the_shards_is_of_the_same_build(builds, tmp_path):
    (_, first, own), (_, second, other) = builds
    directory = shutil.copytree(first, tmp_path / "d")
    dataset = load(directory)
    dataset.documents([3]), dataset.vocabulary(), Mixture({"a": dataset})
    replace(directory, second)
    for read in (lambda: dataset.documents([3]), dataset.vocabulary):
        with pytest.raises(ManifestError, match=f"fingerprint {other}, expected {own}"):
            read()
    (directory / naming.STATISTICS).write_text('{"splits": {"train": {"tokens_in_examples": 100, "examples": 160}}}')
    with pytest.raises(ManifestError, match=f"fingerprint {other}, expected {own}"):
        Mixture({"a": dataset})


@pytest.fixture(scope="module")
def address():
    with storage() as found:
        yield found


@pytest.mark.parametrize("cached", [False, True])
def test_a_bucket_that_is_overwritten_is_noticed(builds, address, tmp_path, cached):
    (arrays, first, own), (_, second, other) = builds
    remote = f"{address}/{'cached' if cached else 'plain'}"
    upload(first, remote)
    dataset = load(remote, **({"cache": tmp_path / "cache"} if cached else {}))
    batches = dataset.batches(16, epochs=1, prefetch=0, shuffle=False)
    next(batches)
    upload(first, remote)  # the same bytes under other generations
    assert np.array_equal(next(batches)["tokens"], arrays["tokens"][16:32])
    files.remove(f"{remote}/{naming.MANIFEST}")
    upload(second, remote)
    dataset.records.memory_bytes = 0
    assert names_both(read_on(dataset.batches(16, seed=2, epochs=1, prefetch=0), arrays), own, other)
    for name in (naming.shard("train", 5, 10), naming.MANIFEST):
        files.write_bytes(f"{remote}/{name}", (first / name).read_bytes())
    if not cached:  # one shard is of the right build again, the others are not
        assert "overwritten after the dataset was opened" in str(read_on(load_pinned(dataset), arrays))


def load_pinned(dataset):
    """The same opened dataset, in another process."""
    return pickle.loads(pickle.dumps(dataset)).batches(16, epochs=1, prefetch=0, shuffle=False)


def test_the_check_of_a_shard_reads_nothing(builds, monkeypatch):
    dataset = load(builds[0][1])
    monkeypatch.setattr(manifests, "read", None)
    dataset.take(np.arange(COUNT))
