import pickle

import numpy as np
import pytest

from tests.tokenreel.loaders.records.conftest import COUNT, LENGTH
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.loaders import Lanes, Mixture, load, trace
from tokenreel.storage import files


def ids(batches):
    return [batch["example_id"].tolist() for batch in batches]


@pytest.mark.parametrize("shuffle", [True, False, Lanes(lanes=4, mix=2, block=8)])
def test_batches_from_a_bucket_equal_those_of_the_disk(bucket_arrays, local, bucket, shuffle):
    options = {"seed": 2, "shuffle": shuffle, "epochs": 2, "drop_remainder": False}
    expected = ids(load(local).batches(16, **options))
    for prefetch in (2,) if shuffle is True else (0, 2):  # a request for every record
        found = list(load(bucket).batches(16, **options, prefetch=prefetch))
        assert ids(found) == expected
        for batch in found:
            assert np.array_equal(batch["tokens"], bucket_arrays["tokens"][batch["example_id"]])


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


@pytest.mark.parametrize("shuffle", [True, False, Lanes(lanes=4, mix=2, block=8)])
def test_a_host_without_rows_requests_nothing(bucket, shuffle):
    dataset = load(bucket)
    batch = next(dataset.batches(8, rows=[], shuffle=shuffle, prefetch=0))
    assert batch["tokens"].shape == (0, LENGTH) and dataset.records.requests == 0


def test_memory_is_bounded(bucket):
    dataset = load(bucket)
    dataset.records.memory_bytes = 1
    list(dataset.batches(8, shuffle=Lanes(lanes=2, mix=1, block=4), epochs=1, prefetch=0))
    assert len(dataset.records._ranges) <= 2 * 2


def test_damage_in_the_bucket_is_named(local, bucket, fast, monkeypatch):
    manifest = manifests.read(str(local))
    shards = manifest.splits["train"].shards
    data = bytearray((local / shards[2].file).read_bytes())
    data[5 * manifest.fixed_format.record_bytes + 50] ^= 1
    files.write_bytes(f"{bucket}/{shards[2].file}", bytes(data))
    try:
        with pytest.raises(ManifestError, match=r"00002-of-00007: another build wrote it after the manifest: crc32c 0x"):
            load(bucket)  # of the same size: the bucket knows its CRC
        remote_list = files.remote_list
        with monkeypatch.context() as patch:
            patch.setattr(files, "remote_list", lambda path: {name: o._replace(crc32c=None) for name, o in remote_list(path).items()})
            dataset = load(bucket)
        with pytest.raises(ManifestError, match=r"00002-of-00007: record 5 at byte"):
            dataset.take([69])
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
