"""Reading cached tasks: what belongs to a cache is read, and what does not is refused."""

import json
import os
import pickle

import numpy as np
import pytest

from tests.tokenreel.tasks.caches import write_cache, write_seqio
from tokenreel.errors import ManifestError
from tokenreel.format import cache_manifest
from tokenreel.tasks import caching

ROWS = [
    {"inputs": np.arange(n, dtype=np.int32), "text": b"t%d" % n, "answers": np.array([b"a"] * (n % 3), object), "score": np.float32(n / 2)}
    for n in range(7)
]
FEATURES = {"inputs": ("int32", [None]), "text": ("string", []), "answers": ("string", [None]), "score": ("float32", [])}


def assert_rows(split, rows):
    assert len(split) == len(rows)
    for found, row in zip(split, rows, strict=True):
        assert sorted(found) == sorted(row)
        for name, value in row.items():
            np.testing.assert_array_equal(found[name], value)
            assert getattr(found[name], "dtype", None) == getattr(value, "dtype", None)


def test_a_cache_is_read_by_number(tmp_path):
    write_cache(tmp_path, {"train": [ROWS[:3], [], ROWS[3:]], "validation": [ROWS[:1]]})
    train = caching.open_cached(str(tmp_path), "train")
    assert_rows(train, ROWS)
    assert train.stats == {"examples": 7} and caching.splits_of(str(tmp_path)) == ["train", "validation"]
    values, bounds = train.take([5, 0, 2])["inputs"]
    assert values.tolist() == [0, 1, 2, 3, 4, 0, 1] and bounds.tolist() == [0, 5, 5, 7]
    assert list(train.take([1], only=["score"])) == ["score"]
    assert_rows(pickle.loads(pickle.dumps(train)), ROWS)
    with pytest.raises(IndexError, match="examples 0 to 6, asked for 7"):
        train.take([7])


def test_a_directory_of_seqio_is_read_as_it_is(tmp_path):
    write_seqio(tmp_path, "train", [ROWS[:4], ROWS[4:]], FEATURES)
    train = caching.open_cached(str(tmp_path), "train")
    assert_rows(train, ROWS)
    assert train.lengths("inputs").tolist() == list(range(7)) and train.manifest is None
    assert caching.splits_of(str(tmp_path)) == ["train"] and caching.stats_of(str(tmp_path), "train") == {"examples": 7}


def test_old_directories_of_seqio_are_read_as_seqio_reads_them(tmp_path):
    rows = [{"inputs": np.int64([1, 2]), "inputs_plaintext": b"one two", "grid": np.float32([[1, 2], [3, 4]]), "unlisted": np.int64(3)}]
    told = {"inputs": ("int64", [None]), "inputs_plaintext": ("string", []), "grid": ("float32", [None, 2]), "missing": ("int32", [None])}
    write_seqio(tmp_path, "test", [rows], told, version=None)
    (found,) = caching.open_cached(str(tmp_path), "test")
    assert found["inputs"].dtype == np.int32 and found["inputs_pretokenized"] == b"one two"
    assert found["grid"].tolist() == [[1, 2], [3, 4]] and found["missing"].tolist() == []
    assert "unlisted" not in found and "inputs_plaintext" not in found


@pytest.mark.tensorflow
def test_records_of_tensorflow_are_found_in_any_order_of_features(tmp_path):
    import tensorflow as tf

    write_seqio(tmp_path, "train", [ROWS], FEATURES)
    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord-00000-of-00001")) as file:
        for row in ROWS:
            kinds = {
                "score": tf.train.Feature(float_list=tf.train.FloatList(value=[row["score"]])),
                "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row["text"]])),
                "inputs": tf.train.Feature(int64_list=tf.train.Int64List(value=row["inputs"])),
                "answers": tf.train.Feature(bytes_list=tf.train.BytesList(value=row["answers"].tolist())),
            }
            file.write(tf.train.Example(features=tf.train.Features(feature=kinds)).SerializeToString())
    assert_rows(caching.open_cached(str(tmp_path), "train"), ROWS)


def refused(directory, match, split="train"):
    with pytest.raises(ManifestError, match=match):
        caching.open_cached(str(directory), split).take([0, 6])


def _change(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _replace(path, old, new):
    path.write_text(path.read_text().replace(old, new))


SHARD, INDEX = "train.tfrecord-00001-of-00002", "train.index-00001-of-00002"


@pytest.mark.parametrize(
    ("breaks", "match"),
    [
        (lambda d: os.remove(d / SHARD), f"{SHARD}: missing, though the manifest lists it"),
        (lambda d: os.remove(d / INDEX), f"{INDEX}: missing"),
        (lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes()[:-1]), "bytes, the manifest says"),
        (lambda d: _change(d / SHARD), f"{SHARD}: its bytes are not those"),
        (lambda d: _change(d / INDEX), f"{INDEX}: its bytes are not those"),
        (
            lambda d: (d / "train.tfrecord-00000-of-00064").write_bytes(b""),
            "holds train.tfrecord-00000-of-00064, not listed",
        ),
        (lambda d: (d / "train.index-00000-of-00064").write_bytes(b""), "left by another run"),
        (lambda d: os.remove(d / "manifest.json"), "its cache did not finish"),
        (
            lambda d: _replace(d / "manifest.json", "a_task", "b_task"),
            "its fingerprint is not",
        ),
        (
            lambda d: _replace(d / "manifest.json", '_version": 1', '_version": 2'),
            "version 2",
        ),
        (lambda d: (d / "manifest.json").write_text('{"format": "tokenreel-cache", "format_version": 1}'), "altered: KeyError"),
    ],
)
def test_what_does_not_belong_to_a_cache_is_refused(tmp_path, breaks, match):
    write_cache(tmp_path, {"train": [ROWS[:3], ROWS[3:]]})
    breaks(tmp_path)
    refused(tmp_path, match)


def test_a_split_that_was_not_cached_is_named(tmp_path):
    write_cache(tmp_path, {"train": [ROWS]})
    refused(tmp_path, "'a_task' was cached without a split 'test'; it has train", "test")
    refused(tmp_path / "nowhere", "holds no cache with this split")
    assert not caching.is_cached(str(tmp_path / "nowhere")) and caching.splits_of(str(tmp_path / "nowhere")) == []
    assert cache_manifest.find(str(tmp_path / "nowhere")) is None and not cache_manifest.is_cache(b"no JSON")


@pytest.mark.parametrize(
    ("breaks", "match"),
    [
        (lambda d: os.remove(d / "COMPLETED"), "did not finish"),
        (lambda d: os.remove(d / SHARD), f"{SHARD}: missing"),
        (lambda d: (d / "train.tfrecord-00000-of-00012").write_bytes(b""), "beside the 2 shards that belong to it"),
        (lambda d: (d / SHARD).write_bytes(b""), r"3 examples lie in the shards of 'train', stats.train.json says 7"),
        (lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes()[:-1]), "is cut short"),
        (lambda d: os.remove(d / "info.train.json"), "info.train.json: missing"),
        (lambda d: (d / "info.train.json").write_text("["), "no JSON"),
        (lambda d: (d / "info.train.json").write_text('{"num_shards": 2}'), "KeyError"),
        (lambda d: _tell(d, "inputs", "float32", [None]), "holds integers where the info file says float32"),
        (lambda d: _tell(d, "gone", "int32", []), "no feature 'gone'"),
        (lambda d: _tell(d, "inputs", "int32", [None, None]), "only TensorFlow's ragged tensors"),
    ],
)
def test_what_does_not_belong_to_a_cache_of_seqio_is_refused(tmp_path, breaks, match):
    write_seqio(tmp_path, "train", [ROWS[:3], ROWS[3:]], FEATURES)
    breaks(tmp_path)
    refused(tmp_path, match)


def _tell(directory, name, dtype, shape):
    info = json.loads((directory / "info.train.json").read_text())
    info["features"][name] = {"dtype": dtype, "shape": shape}
    (directory / "info.train.json").write_text(json.dumps(info))
