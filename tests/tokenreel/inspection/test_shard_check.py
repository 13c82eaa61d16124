import random

import numpy as np
import pytest

from tests import verification_datasets as datasets
from tests.frames import payloads
from tests.tokenreel.inspection.conftest import SHARD, flip
from tokenreel.format import manifest, tfrecord
from tokenreel.format.example_codec import encode_lists
from tokenreel.inspection import shard_check
from tokenreel.inspection.verification import verify


def test_chunks_do_not_matter(dataset, monkeypatch):
    monkeypatch.setattr(shard_check, "_CHUNK_BYTES", 1000)
    assert verify(str(dataset)) == []
    flip(dataset / SHARD, 700, 0x10)
    assert len(verify(str(dataset))) == 2


def test_every_flipped_byte_of_a_shard_is_named(tmp_path):
    """File, record, and the very byte: by the template where records are alike, by the CRC's algebra elsewhere."""
    made = datasets.make(tmp_path, overlap=1, documents={"train": 9})  # few shards, because all are read each time
    shard, size = made.splits["train"].shards[1].file, made.fixed_format.record_bytes
    path = tmp_path / shard
    sound = path.read_bytes()
    draw = random.Random(0)
    for _ in range(400):
        at, bits = draw.randrange(len(sound)), draw.randrange(1, 256)
        flip(path, at, bits)
        found = verify(str(tmp_path))
        record = at // size
        assert len(found) == 2, found
        assert found[0].startswith(f"{shard}: record {record} at byte {record * size:,}: "), found[0]
        assert f"byte {at % size} (" in found[0], (at, found[0])
        assert found[1].startswith(f"{shard}: crc32c is ")
        path.write_bytes(sound)


def test_damage_of_several_bytes_names_the_records(dataset):
    path = dataset / SHARD
    fixed_format = manifest.read(str(dataset)).fixed_format
    size, at = (
        fixed_format.record_bytes,
        dict(zip((feature.name for feature in fixed_format.features), fixed_format.offsets, strict=True))["tokens"],
    )
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8).reshape(-1, size).copy()
    data[2, at : at + 4] ^= 0xFF
    data[5:7, at : at + 4] ^= 0x0F
    path.write_bytes(data.tobytes())
    found = verify(str(dataset))
    assert [line.split(":")[1] for line in found[:3]] == [f" record {i} at byte {i * size:,}".split(":")[0] for i in (2, 5, 6)]
    assert all("more than one byte" in line for line in found[:3])
    assert len(found) == 4  # and the file's crc32c


def test_long_damage_is_one_line(tmp_path):
    datasets.make(tmp_path, examples_per_shard=100)
    path = tmp_path / "train.tfrecord-00000-of-00002"
    path.write_bytes(bytes(path.stat().st_size))
    found = verify(str(tmp_path))
    assert len(found) == 2
    assert "records 0 to 99, bytes 0 to" in found[0]


@pytest.mark.parametrize("cut", [1, 5, 200])
def test_a_shard_cut_short_is_named(dataset, cut):
    path = dataset / SHARD
    path.write_bytes(path.read_bytes()[:-cut])
    found = verify(str(dataset))
    assert any("bytes, the manifest says" in line for line in found)
    assert any("whole records, the manifest says 10" in line for line in found)
    assert all(line.startswith(SHARD) for line in found)


def test_a_shard_that_grew_is_named(dataset):
    path = dataset / SHARD
    path.write_bytes(path.read_bytes() + b"more")
    assert any("4 bytes follow the 10 records" in line for line in verify(str(dataset)))


def test_shards_exchanged_are_named(dataset):
    """Every byte of the records is sound; only their numbers tell."""
    a, b = dataset / SHARD, dataset / "train.tfrecord-00002-of-00016"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    datasets.sign(dataset)
    found = verify(str(dataset))
    assert f"{SHARD}: record 0 at byte 0: example_id is 20, its place in the split is 10, and so in the 9 records behind it" in found


def test_int64_lists_are_checked_record_by_record(tmp_path):
    made = datasets.make(tmp_path, record_format="int64_list", documents={"train": 9})
    path = tmp_path / made.splits["train"].shards[0].file
    sound = path.read_bytes()
    draw = random.Random(2)
    for _ in range(100):
        flip(path, draw.randrange(len(sound)), draw.randrange(1, 256))
        found = verify(str(tmp_path))
        assert found[0].startswith(f"{path.name}: record ") and found[-1].startswith(f"{path.name}: crc32c is"), found
        path.write_bytes(sound)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"tokens": [3] * 31}, "feature 'tokens' has 31 values, the manifest says 32"),
        ({"document_starts": [2] * 32}, "a value is neither 0 nor 1"),
        ({"more": [1]}, "holds the features document_starts, example_id, more"),
        ({"tokens": [0.5] * 32}, "another type"),
        ({"tokens": [259] * 32}, "token 259 at position 0"),
        ({"num_tokens": 40}, "num_tokens is 40"),
    ],
)
def test_int64_lists_with_wrong_values_are_named(tmp_path, arrays, message):
    datasets.make(tmp_path, record_format="int64_list", documents={"train": 30}, examples_per_shard=1000)
    (path,) = tmp_path.glob("*.tfrecord-*")
    data = path.read_bytes()
    length = len(tfrecord.frame(payloads(data)[0]))
    values = {"tokens": [3] * 32, "document_starts": [0] * 32, "num_tokens": 32, "example_id": 0} | arrays
    (altered,) = encode_lists({name: [np.array(value)] for name, value in values.items()})
    path.write_bytes(altered + data[length:])
    datasets.sign(tmp_path)
    found = verify(str(tmp_path))
    assert any(line.startswith(f"{path.name}: record 0") and message in line for line in found), found
