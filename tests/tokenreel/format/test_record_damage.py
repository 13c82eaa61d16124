import os

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ManifestError
from tokenreel.format import manifest as manifests
from tokenreel.format.record_damage import find_shard_damage
from tokenreel.loaders import load

COUNT, PER_SHARD, FLIPS = 60, 16, 3000


def check_shard(*arguments):
    return list(find_shard_damage(*arguments))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(COUNT, 40, padded=True)}, per_shard=PER_SHARD)
    return path


def flip(path, position, bit):
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def test_any_flipped_bit_of_a_shard_is_found(directory):
    manifest = manifests.read(str(directory))
    shards = manifest.splits["train"].shards
    fixed_format = manifest.fixed_format
    rng = np.random.default_rng(0)
    assert check_shard(str(directory / shards[0].file), shards[0], fixed_format) == []
    datasets = {backend: load(directory, crc="always", backend=backend) for backend in ("mmap", "pread")}
    for dataset in datasets.values():
        dataset.take(np.arange(COUNT))  # opens every shard, so that what follows is found by reading the record
    for number in range(FLIPS):
        index = int(rng.integers(len(shards)))
        path, info = directory / shards[index].file, shards[index]
        position, bit = int(rng.integers(info.bytes)), int(rng.integers(8))
        flip(path, position, bit)
        row = position // fixed_format.record_bytes
        where = f"{info.file}: record {row} at byte {row * fixed_format.record_bytes:,}"
        with pytest.raises(ManifestError, match="record") as raised:
            datasets["pread" if number % 2 else "mmap"].take([index * PER_SHARD + row])
        assert where in str(raised.value)
        found = check_shard(str(path), info, fixed_format)
        assert len(found) == 2 and where in found[0] and "crc32c" in found[1]
        flip(path, position, bit)
    for dataset in datasets.values():
        dataset.take(np.arange(COUNT))


def test_any_flipped_bit_of_the_manifest_is_found(directory):
    path = directory / "manifest.json"
    good = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(FLIPS):
        data = bytearray(good)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        with pytest.raises(ManifestError):
            load(directory)
    path.write_bytes(good)
    load(directory)


def test_several_differences_are_all_listed(directory, tmp_path):
    manifest = manifests.read(str(directory))
    info = manifest.splits["train"].shards[1]
    data = bytearray((directory / info.file).read_bytes())
    stride = manifest.fixed_format.record_bytes
    for row in (2, 3, 11):
        data[row * stride + manifest.fixed_format.offsets[-1]] ^= 4
    data[5 * stride] ^= 1
    path = tmp_path / info.file
    path.write_bytes(data)
    found = check_shard(str(path), info, manifest.fixed_format)
    where = f"if one byte was altered, it is byte {manifest.fixed_format.offsets[-1]} (tokens), counted from the record's first"
    length = manifest.fixed_format.template[0]
    assert [line.split(": ", 1)[1] for line in found[:4]] == [
        *(f"record {row} at byte {row * stride:,}: its CRC does not match its bytes: {where}" for row in (2, 3)),
        f"record 5 at byte {5 * stride:,}: byte 0 (length) is {length ^ 1:#04x} instead of {length:#04x}, counted from the record's first",
        f"record 11 at byte {11 * stride:,}: its CRC does not match its bytes: {where}",
    ]
    os.truncate(path, 3 * stride + 5)
    assert any("3.0" in line and "16 records" in line for line in check_shard(str(path), info, manifest.fixed_format))
    assert "cannot be read" in check_shard(str(tmp_path / "none"), info, manifest.fixed_format)[0]


def test_loading_with_full_verification(directory):
    load(directory, verify="full")
    shard = directory / manifests.read(str(directory)).splits["train"].shards[2].file
    flip(shard, 500, 3)
    with pytest.raises(ManifestError, match=r"00002-of-00004: record .*\(1 more difference"):
        load(directory, verify="full")
    flip(shard, 500, 3)
