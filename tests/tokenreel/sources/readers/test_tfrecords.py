from __future__ import annotations

import gzip
import pathlib
import random
import struct
import tempfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import read
from tokenreel.errors import SourceError
from tokenreel.format import tfrecord


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def example(**features: bytes | str | int | float | list[bytes]) -> bytes:
    """A `tf.train.Example`, written by hand."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, int):
            kind = field(3, field(1, varint(value)))
        elif isinstance(value, float):
            kind = field(2, field(1, struct.pack("<f", value)))
        else:
            values = value if isinstance(value, list) else [value.encode() if isinstance(value, str) else value]
            kind = field(1, b"".join(field(1, item) for item in values))
        entries += field(1, field(1, name.encode()) + field(2, kind))
    return field(1, entries)


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(st.text(max_size=40), max_size=30), part_bytes=st.integers(1, 500), packed=st.booleans())
def test_records_become_documents(texts: list[str], part_bytes: int, packed: bool) -> None:
    frames = [tfrecord.frame(example(text=text, n=i, score=i / 2, id=f"row-{i}", url="u")) for i, text in enumerate(texts)]
    places = np.cumsum([0, *map(len, frames)]).tolist()
    data = b"".join(frames)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"a.tfrecord{'.gz' * packed}"
        path.write_bytes(gzip.compress(data) if packed else data)
        found = read(path, "tfrecord", part_bytes, id_field="id", order_field="n", metadata_fields=("n", "score", "url", "none"))
        assert {at: text for (_, at), text in found.texts.items()} == dict(zip(places, texts, strict=False))
        assert list(found.ids.values()) == [f"row-{i}" for i in range(len(texts))]
        assert list(found.sort_value.values()) == sorted(found.sort_value.values())
        assert list(found.metadata.values()) == [{"n": i, "score": i / 2, "url": "u"} for i in range(len(texts))]
        assert list(read(path, "tfrecord", part_bytes, id_field="n").ids.values()) == [str(i) for i in range(len(texts))]
        assert found.faults == []


def test_each_bad_record_has_its_reason(tmp_path: pathlib.Path) -> None:
    payloads = [
        example(text="good"),
        example(body="no text"),
        example(text=[b"two", b"texts"]),
        example(text=5),
        example(text=b"\xff"),
        b"no example",
        example(text="good too"),
    ]
    frames = [tfrecord.frame(payload) for payload in payloads]
    altered = bytearray(tfrecord.frame(example(text="altered")))
    altered[-6] ^= 1
    (tmp_path / "a").write_bytes(b"".join([*frames, altered, frames[0]]))
    found = read(tmp_path, "tfrecord")
    assert found.values == ["good", "good too", "good"]
    expected = ["no_text", "text_not_a_string", "text_not_a_string", "invalid_utf8", "no_example", "bad_crc"]
    assert [(fault.line, fault.reason) for fault in found.faults] == list(zip([2, 3, 4, 5, 6, 8], expected, strict=True))
    assert "'body'" in found.faults[0].message
    for fault in found.faults:
        assert fault.position == sum(map(len, frames[: fault.line - 1]))


@pytest.mark.parametrize("packed", [False, True])
def test_nothing_behind_damage_is_guessed_at(tmp_path: pathlib.Path, packed: bool) -> None:
    frames = [tfrecord.frame(example(text=f"text {i}")) for i in range(20)]
    places = np.cumsum([0, *map(len, frames)]).tolist()
    data = b"".join(frames)
    archive = gzip.compress(data) if packed else data
    path = tmp_path / f"a.tfrecord{'.gz' * packed}"
    for cut in range(len(archive)):
        path.write_bytes(archive[:cut])
        found = read(path, "tfrecord", 100)
        assert found.values == [f"text {i}" for i in range(len(found.values))]
        if packed:
            assert found.reasons == ["broken_archive"]
        else:
            assert found.reasons == ["broken_file"] * (cut not in places)
            assert len(found.values) == sum(place <= cut for place in places) - 1
    altered = bytearray(data)
    altered[places[7] + 3] ^= 1
    (tmp_path / "b").write_bytes(altered)
    found = read(tmp_path / "b", "tfrecord")
    assert len(found.values) == 7
    assert [(fault.position, fault.line, fault.reason) for fault in found.faults] == [(places[7], 8, "broken_file")]
    assert "its length does not match its CRC" in found.faults[0].message


def test_any_bytes_in_good_frames_are_read_or_refused(tmp_path: pathlib.Path) -> None:
    rng = random.Random(2)
    good = example(text="some text", n=5, score=0.5, url="somewhere")
    payloads = []
    for _ in range(1500):
        altered = bytearray(good)
        for _ in range(rng.choice([1, 2, 8])):
            altered[rng.randrange(len(good))] = rng.randrange(256)
        payloads.append(bytes(altered))
    (tmp_path / "a").write_bytes(b"".join(map(tfrecord.frame, payloads)))
    found = read(tmp_path, "tfrecord", metadata_fields=("n", "score", "url"), order_field="n", dead_letters_kept=1500)
    assert len(found.texts) + len(found.faults) == len(payloads)
    assert found.texts and found.faults


def test_prepared_tensorflow_datasets(tmp_path: pathlib.Path) -> None:
    """The layout of a prepared data set: its description names splits, numbers of shards and a template of file names."""
    (tmp_path / "dataset_info.json").write_text(
        """{"name": "wiki", "fileFormat": "tfrecord", "splits": [
        {"name": "train", "shardLengths": ["2", "1"], "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"},
        {"name": "test", "shardLengths": ["1"]}]}"""
    )
    shards = {"train.tfrecord-00000-of-00002": "ab", "train.tfrecord-00001-of-00002": "c", "test.tfrecord-00000-of-00001": "d"}
    for name, texts in shards.items():
        (tmp_path / f"wiki-{name}").write_bytes(b"".join(tfrecord.frame(example(text=text)) for text in texts))
    assert read(tmp_path, "tfds", split="train").values == ["a", "b", "c"]
    assert read(tmp_path, "tfds", split="test").values == ["d"]
    with pytest.raises(SourceError, match="has no split 'dev', only train, test"):
        read(tmp_path, "tfds", split="dev")
    (tmp_path / "wiki-train.tfrecord-00001-of-00002").unlink()
    with pytest.raises(SourceError, match=r"wiki-train\.tfrecord-00001-of-00002: no file matches"):
        read(tmp_path, "tfds", split="train")
    with pytest.raises(SourceError, match=r"no dataset_info\.json"):
        read(tmp_path / "nowhere", "tfds", split="train")


@pytest.mark.tensorflow
def test_what_tensorflow_datasets_writes(tmp_path: pathlib.Path) -> None:
    import tensorflow_datasets as tfds

    texts = [f"Some text, number {i}" * (i % 5 + 1) for i in range(300)]
    tfds.dataset_builders.store_as_tfds_dataset(
        "mine",
        version="1.0.0",
        data_dir=str(tmp_path),
        features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "n": np.int64}),
        split_datasets={"train": [(i, {"text": text, "n": i}) for i, text in enumerate(texts)]},
    )
    (folder,) = {path.parent for path in tmp_path.rglob("dataset_info.json")}
    found = read(folder, "tfds", 1000, split="train", metadata_fields=("n",))
    assert sorted(found.values) == sorted(texts)
    assert sorted(fields["n"] for fields in found.metadata.values()) == list(range(300))


@pytest.mark.parametrize("packed", [False, True])
def test_a_huge_record_is_passed_over_without_being_held(packed: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenreel.sources.readers.tfrecords._LONGEST_RECORD", 1000)
    small, huge = tfrecord.frame(example(text="a")), tfrecord.frame(example(text="x", image=bytes(40 << 20)))
    data = small + huge + small
    path = tmp_path / f"a.tfrecord{'.gz' * packed}"
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    tracemalloc.start()
    found = read(path, "tfrecord", max_document_mb=0.001)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert list(found.texts) == [(path.name, 0), (path.name, len(small) + len(huge))]
    assert [(fault.position, fault.line, fault.reason) for fault in found.faults] == [(len(small), 2, "oversized")]
    path.write_bytes(gzip.compress(data[:-3], 1) if packed else data[: len(small) + len(huge) - 5])
    cut = read(path, "tfrecord", max_document_mb=0.001)
    assert cut.reasons == (["oversized", "broken_file"] if packed else ["broken_file"])
