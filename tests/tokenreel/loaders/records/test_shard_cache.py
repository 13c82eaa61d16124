import concurrent.futures
import multiprocessing
import os
import time

import numpy as np
import pytest

from tests.tokenreel.loaders.records.conftest import COUNT, PER_SHARD
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.loaders import load
from tokenreel.loaders.records import ShardCache
from tokenreel.storage import files


def cached(directory):
    return sorted(path.name for path in directory.rglob("train.tfrecord-*"))


def test_the_cache_keeps_shards_within_its_bound(bucket_arrays, bucket, tmp_path):
    shard_bytes = PER_SHARD * manifests.read(bucket).fixed_format.record_bytes
    dataset = load(bucket, cache=tmp_path / "cache", cache_bytes=3 * shard_bytes)
    order = np.random.default_rng(0).permutation(COUNT)
    for examples in np.array_split(order, 20):
        assert np.array_equal(dataset.take(examples)["tokens"], bucket_arrays["tokens"][examples])
        assert len(cached(tmp_path)) <= 3
    for example in (0, 32, 0, 64, 0, 96):
        dataset.take([example])
    assert not any(path.name.startswith(".tmp") or ".tmp-" in path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="raise cache_bytes"):
        load(bucket, cache=tmp_path / "small", cache_bytes=100).take([0])


def test_the_shard_opened_longest_ago_goes_first(bucket, tmp_path):
    manifest = manifests.read(bucket)
    shards = manifest.splits["train"].shards
    cache = ShardCache(bucket, str(tmp_path), "f", 2 * shards[0].bytes)
    for index in (0, 1, 0, 2):
        os.close(cache.open(shards[index]))
    assert cached(tmp_path) == [shards[0].file, shards[2].file]


def test_the_bound_holds_while_several_fetch(bucket, tmp_path, monkeypatch):
    """Each counted what lay there, and then all wrote: three fetched at a time where two shards had room."""
    shards = manifests.read(bucket).splits["train"].shards
    limit, totals, open_read = 2 * shards[0].bytes, [], files.open_read

    class Slow:
        """Gives the others time to begin, and looks at all that lies in the cache meanwhile."""

        def __init__(self, path):
            self.stream = open_read(path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def read(self, size):
            time.sleep(0.02)
            totals.append(sum(size for name, size in files.list_files(str(tmp_path)).items() if not name.startswith(".locks/")))
            return self.stream.read(size // 4096)

    def fetch(seed):
        cache = ShardCache(bucket, str(tmp_path), "f", limit)  # as another process has it: locks belong to open files
        for index in np.random.default_rng(seed).permutation(len(shards)):
            os.close(cache.open(shards[index]))

    left = tmp_path / "f" / f"{shards[0].file}.tmp-0123456789ab"
    left.parent.mkdir()
    left.write_bytes(bytes(shards[0].bytes))  # by a process that was killed
    monkeypatch.setattr(files, "open_read", Slow)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(fetch, range(3)))
    assert len(totals) > 20
    assert max(totals) <= limit


def test_a_cache_in_a_link_is_followed_once_and_said(bucket, bucket_arrays, tmp_path, caplog):
    for name in ("disk", "other"):
        (tmp_path / name).mkdir()
    os.symlink(tmp_path / "disk", tmp_path / "cache")
    dataset = load(bucket, cache=tmp_path / "cache")
    assert f"cache: {tmp_path / 'cache'} is a symbolic link; the files are in {tmp_path / 'disk'}" in caplog.text
    (tmp_path / "cache").unlink()
    os.symlink(tmp_path / "other", tmp_path / "cache")
    assert np.array_equal(dataset.take([0, 40])["tokens"], bucket_arrays["tokens"][[0, 40]])
    assert len(cached(tmp_path / "disk")) == 2 and not list((tmp_path / "other").iterdir())
    os.symlink(tmp_path / "disk", tmp_path / "other" / dataset.manifest.fingerprint)
    with pytest.raises(ConfigError, match="a symbolic link, where the cache writes and removes files"):
        load(bucket, cache=tmp_path / "cache")


def test_a_cached_shard_is_checked_once_and_fetched_again_if_damaged(bucket_arrays, bucket, tmp_path):
    load(bucket, cache=tmp_path).take([0])
    (path,) = tmp_path.rglob("train.tfrecord-*")
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    for name in (path.name, path.name.replace("00000-of", "00001-of")):
        (path.parent / f"{name}.tmp-0123456789ab").write_bytes(b"left by a killed process")
    assert np.array_equal(load(bucket, cache=tmp_path).take(np.arange(32))["tokens"], bucket_arrays["tokens"][:32])
    assert cached(tmp_path) == [path.name]


def test_a_shard_that_differs_from_the_manifest_is_not_cached(local, bucket, tmp_path, fast):
    name = manifests.read(bucket).splits["train"].shards[1].file
    dataset = load(bucket, cache=tmp_path)
    data = bytearray((local / name).read_bytes())
    data[-1] ^= 1
    files.write_bytes(f"{bucket}/{name}", bytes(data))
    try:
        with pytest.raises(ManifestError, match=r"00001-of-00007: .* with crc32c .*, the manifest says"):
            dataset.take([40])
    finally:
        files.write_bytes(f"{bucket}/{name}", (local / name).read_bytes())
    assert cached(tmp_path) == []


def _read_all(bucket, cache, seed, results):
    dataset = load(bucket, cache=cache, cache_bytes=3 * PER_SHARD * 200)
    total = 0
    for batch in dataset.batches(10, seed=seed, epochs=1, prefetch=0):
        total += int(batch["tokens"].sum())
    results.put((seed, total))


def test_processes_of_a_host_share_the_cache(bucket_arrays, bucket, tmp_path):
    assert manifests.read(bucket).fixed_format.record_bytes * PER_SHARD <= 3 * PER_SHARD * 200
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_read_all, args=(bucket, str(tmp_path), seed, results)) for seed in range(3)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert set(found.values()) == {int(bucket_arrays["tokens"].sum())}


@pytest.mark.slow
def test_a_cache_survives_processes_that_are_killed(bucket_arrays, bucket, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    rng = np.random.default_rng(0)
    for seed in range(10):
        process = context.Process(target=_read_for_ever, args=(bucket, str(tmp_path), seed))
        process.start()
        other = context.Process(target=_read_for_ever, args=(bucket, str(tmp_path), seed + 100))
        other.start()
        time.sleep(1.0 + rng.random())  # importing takes most of it
        process.kill(), other.kill()
        process.join(), other.join()
    _read_all(bucket, str(tmp_path), 5, results)
    assert results.get(timeout=120) == (5, int(bucket_arrays["tokens"].sum()))
    load(bucket, cache=tmp_path).take(np.arange(COUNT))
    assert not [path for path in tmp_path.rglob("*.tmp-*")]


def _read_for_ever(bucket, cache, seed):
    dataset = load(bucket, cache=cache, cache_bytes=2 * PER_SHARD * 250)
    for _ in dataset.batches(4, seed=seed, prefetch=0):
        pass
