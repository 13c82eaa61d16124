import errno
import multiprocessing
import os
import pickle
import threading
import time

import numpy as np
import pytest

from tests.buckets import server, storage, upload
from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError, ManifestError, StorageError
from tokenreel.format import manifest as manifests
from tokenreel.loaders import Lanes, Mixture, load, trace
from tokenreel.loaders.records import ShardCache, retrying
from tokenreel.storage import files, gcs

COUNT, LENGTH, PER_SHARD = 200, 64, 32


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH)


@pytest.fixture(scope="module")
def local(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": arrays}, per_shard=PER_SHARD)
    return path


@pytest.fixture(scope="module")
def bucket(local):
    with storage() as address:
        upload(local, f"{address}/d")
        yield f"{address}/d"


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(retrying, "DELAYS", (0.001,) * len(retrying.DELAYS))


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now, self.lock = 0.0, threading.Lock()

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        with self.lock:
            self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """Stands in for the clock of the storage library too."""
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    monkeypatch.setattr(time, "sleep", made.sleep)
    return made


def ids(batches):
    return [batch["example_id"].tolist() for batch in batches]


@pytest.mark.parametrize("shuffle", [True, False, Lanes(lanes=4, mix=2, block=8)])
def test_batches_from_a_bucket_equal_those_of_the_disk(arrays, local, bucket, shuffle):
    options = {"seed": 2, "shuffle": shuffle, "epochs": 2, "drop_remainder": False}
    expected = ids(load(local).batches(16, **options))
    for prefetch in (2,) if shuffle is True else (0, 2):  # a request for every record
        found = list(load(bucket).batches(16, **options, prefetch=prefetch))
        assert ids(found) == expected
        for batch in found:
            assert np.array_equal(batch["tokens"], arrays["tokens"][batch["example_id"]])


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_with_lanes_every_block_is_requested_once_over_all_hosts(bucket, hosts):
    lanes = Lanes(lanes=4, mix=2, block=8)
    requests = amount = 0
    for host in range(hosts):
        dataset = load(bucket)
        batches = dataset.batches(8, seed=1, shuffle=lanes, hosts=hosts, host=host, prefetch=0)
        for _ in range(192 // 8):  # 24 of the 25 blocks are dealt to lanes; the rest is not read here
            batches._planner._ahead._active = False  # no further than these batches
            next(batches)
        requests += dataset.records.requests
        amount += dataset.records.bytes_read
    assert requests == 24
    assert amount == 192 * manifests.read(bucket).fixed_format.record_bytes


def test_neighbours_share_a_request(bucket):
    dataset = load(bucket)
    dataset.take([1, 2, 3, 5, 31, 32, 190, 4])
    assert dataset.records.requests == 3  # one range in each of three shards; small gaps are read over
    dataset.take(np.arange(COUNT))
    assert dataset.records.requests == 3 + 7


def test_the_stored_order_reads_blocks(bucket):
    dataset = load(bucket)
    assert len(ids(dataset.batches(8, shuffle=False, epochs=1))) == 25
    assert dataset.records.requests == 7  # a block of a megabyte holds each shard


def test_memory_is_bounded(bucket):
    dataset = load(bucket)
    dataset.records.memory_bytes = 1
    list(dataset.batches(8, shuffle=Lanes(lanes=2, mix=1, block=4), epochs=1, prefetch=0))
    assert len(dataset.records._ranges) <= 2 * 2


def test_failures_that_pass_are_tried_again(bucket, arrays, monkeypatch, fast):
    from google.api_core import exceptions

    dataset = load(bucket)
    read, calls, lock = files.read_bytes, [], threading.Lock()

    def flaky(path, offset=0, length=None):
        with lock:
            calls.append(offset)
            number = len(calls)
        if number % 5 == 1:
            raise ConnectionResetError("reset")
        if number % 5 == 2:
            raise exceptions.ServiceUnavailable("503")
        data = read(path, offset, length)
        if number % 5 == 3:
            return data[:-1]  # cut short
        if number % 5 == 4:
            return bytes([data[0], data[1] ^ 1]) + data[2:]  # altered on its way
        return data

    monkeypatch.setattr(files, "read_bytes", flaky)
    with pytest.raises(ManifestError):  # cut short and altered: two looks in a row that differ
        dataset.take([0])
    calls[:] = [0, 0, 0]
    assert np.array_equal(dataset.take([40])["tokens"], arrays["tokens"][[40]])


def test_failures_that_stay_are_errors(bucket, monkeypatch, fast):
    from google.api_core import exceptions

    calls = []

    def failing(error):
        def read(path, offset=0, length=None):
            calls.append(path)
            raise error

        return read

    for error, expected, attempts in (
        (TimeoutError("slow"), ManifestError, retrying.ATTEMPTS),
        (exceptions.TooManyRequests("429"), ManifestError, retrying.ATTEMPTS),
        (exceptions.Forbidden("403"), exceptions.Forbidden, 1),
        (FileNotFoundError("gone"), ManifestError, 1),
    ):
        calls.clear()
        dataset = load(bucket)
        monkeypatch.setattr(files, "read_bytes", failing(error))
        with pytest.raises(expected):
            dataset.take([0])
        monkeypatch.undo()
        monkeypatch.setattr(retrying, "DELAYS", (0.001,) * len(retrying.DELAYS))
        assert len(calls) == attempts


def test_a_storage_that_stays_away_is_waited_for_once(local, clock):
    with server() as state:
        upload(local, "gs://bucket/d")
        dataset = load("gs://bucket/d")
        for status, longest in ((503, gcs.PATIENCE), (403, 0.0)):
            state.fail = lambda number, method, path, status=status: status
            began = clock.now
            with pytest.raises(StorageError, match=f"HTTP {status}"):
                dataset.take([0])
            assert clock.now - began <= longest


def test_the_delays_are_those_that_are_stated(clock):
    calls = []

    def action(takes=0.0, error=None):
        calls.append(clock.now)
        clock.now += takes
        raise error or ConnectionResetError("reset")

    with pytest.raises(ManifestError, match="cannot be read after 15 attempts"):
        retrying.retrying(action, "f")
    assert np.diff(calls).tolist() == [0.5, 1, 2, 4, 8, 16] + [30] * 8
    calls.clear()
    with pytest.raises(ManifestError, match="cannot be read after 3 attempts"):
        retrying.retrying(lambda: action(200.0), "f")
    assert calls[-1] - (calls[0] + 200) <= gcs.PATIENCE  # none begins later than that after the first failure
    calls.clear()
    with pytest.raises(OSError, match="disk is full"):
        retrying.retrying(lambda: action(0.0, OSError(errno.ENOSPC, "disk is full")), "f")
    assert len(calls) == 1
    calls.clear()
    with pytest.raises(ManifestError, match="differs"):
        retrying.retrying(lambda: action(0.0, ManifestError("differs")), "f")
    assert len(calls) == 2


def test_damage_in_the_bucket_is_named(local, bucket, fast):
    manifest = manifests.read(str(local))
    shards = manifest.splits["train"].shards
    data = bytearray((local / shards[2].file).read_bytes())
    data[5 * manifest.fixed_format.record_bytes + 50] ^= 1
    files.write_bytes(f"{bucket}/{shards[2].file}", bytes(data))
    try:
        with pytest.raises(ManifestError, match=r"00002-of-00007: record 5 at byte"):
            load(bucket).take([69])
    finally:
        files.write_bytes(f"{bucket}/{shards[2].file}", (local / shards[2].file).read_bytes())
    files.remove(f"{bucket}/{shards[3].file}")
    try:
        with pytest.raises(ManifestError, match="00003-of-00007: missing"):
            load(bucket)
    finally:
        files.write_bytes(f"{bucket}/{shards[3].file}", (local / shards[3].file).read_bytes())
    files.write_bytes(f"{bucket}/train.tfrecord-00007-of-00008", b"?")
    try:
        with pytest.raises(ManifestError, match="00007-of-00008: a shard that the manifest does not list"):
            load(bucket)
    finally:
        files.remove(f"{bucket}/train.tfrecord-00007-of-00008")


def test_tracing_and_pickling(local, bucket):
    dataset = load(bucket)
    assert trace.documents(dataset, [5, 100]) == trace.documents(load(local), [5, 100])
    again = pickle.loads(pickle.dumps(dataset))
    assert again[7]["example_id"] == 7
    mixture = Mixture({"a": dataset, "b": load(local)}, {"a": 1, "b": 1})
    assert len(next(mixture.batches(32, shuffle=Lanes(lanes=4, mix=2, block=8)))["tokens"]) == 32


def test_backends_need_local_files(bucket, tmp_path):
    with pytest.raises(ConfigError, match="needs local files"):
        load(bucket, backend="mmap")


# The cache.


def cached(directory):
    return sorted(path.name for path in directory.rglob("train.tfrecord-*"))


def test_the_cache_keeps_shards_within_its_bound(arrays, bucket, tmp_path):
    shard_bytes = PER_SHARD * manifests.read(bucket).fixed_format.record_bytes
    dataset = load(bucket, cache=tmp_path / "cache", cache_bytes=3 * shard_bytes)
    order = np.random.default_rng(0).permutation(COUNT)
    for examples in np.array_split(order, 20):
        assert np.array_equal(dataset.take(examples)["tokens"], arrays["tokens"][examples])
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


def test_a_cached_shard_is_checked_once_and_fetched_again_if_damaged(arrays, bucket, tmp_path):
    load(bucket, cache=tmp_path).take([0])
    (path,) = tmp_path.rglob("train.tfrecord-*")
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    for name in (path.name, path.name.replace("00000-of", "00001-of")):
        (path.parent / f"{name}.tmp-0123456789ab").write_bytes(b"left by a killed process")
    assert np.array_equal(load(bucket, cache=tmp_path).take(np.arange(32))["tokens"], arrays["tokens"][:32])
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


def test_processes_of_a_host_share_the_cache(arrays, bucket, tmp_path):
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
    assert set(found.values()) == {int(arrays["tokens"].sum())}


@pytest.mark.slow
def test_a_cache_survives_processes_that_are_killed(arrays, bucket, tmp_path):
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
    assert results.get(timeout=10) == (5, int(arrays["tokens"].sum()))
    load(bucket, cache=tmp_path).take(np.arange(COUNT))
    assert not [path for path in tmp_path.rglob("*.tmp-*")]


def _read_for_ever(bucket, cache, seed):
    dataset = load(bucket, cache=cache, cache_bytes=2 * PER_SHARD * 250)
    for _ in dataset.batches(4, seed=seed, prefetch=0):
        pass
