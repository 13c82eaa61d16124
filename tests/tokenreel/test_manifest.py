import dataclasses
import json
import random

import pytest

from tokenreel import manifest, naming
from tokenreel.errors import ManifestError
from tokenreel.manifest import FileInfo, Manifest, ShardInfo, SplitInfo, VocabularyInfo
from tokenreel.schema import Feature

SHARDS = tuple(
    ShardInfo(file=naming.shard("train", index, 2), records=records, bytes=records * 72, crc32c=7 + index)
    for index, records in enumerate((64, 3))
)
EXAMPLE = Manifest(
    seq_len=4,
    overlap=1,
    pad_id=0,
    record_format=manifest.FIXED,
    features=(Feature(name="example_id", dtype="int64"), Feature(name="tokens", dtype="uint16", shape=(5,))),
    splits={"train": SplitInfo(shards=SHARDS), "validation": SplitInfo(shards=())},
    vocabulary=VocabularyInfo(
        kind="sentencepiece",
        fingerprint="abc",
        vocab_size=100,
        pad_id=0,
        bos_id=None,
        eos_id=1,
        unk_id=2,
        file="vocabulary.model",
        options={},
    ),
    config={"packing": {"mode": "wrap"}, "name": "Wörter ▁"},
    seed=5,
    algorithms={"keys": "keys-1"},
    totals={"documents_read": 10},
    files=(FileInfo(file="statistics.json", bytes=10, crc32c=1),),
    tokenreel_version="0.1",
)


def test_a_manifest_is_read_back():
    text = EXAMPLE.to_text()
    assert manifest.parse(text, "manifest.json") == EXAMPLE
    assert manifest.parse(text, "manifest.json").to_text() == text
    assert EXAMPLE.splits["train"].examples == 67


def test_the_int64_format_is_read_back():
    lists = dataclasses.replace(EXAMPLE, record_format=manifest.INT64_LIST)
    assert manifest.parse(lists.to_text(), "manifest.json") == lists
    assert "record_bytes" not in json.loads(lists.to_text())["record"]


def test_the_fingerprint_is_frozen():
    """Trainers name the data of a run by it: a change makes every published dataset another one, and needs a new format version."""
    assert EXAMPLE.fingerprint == "1ce5d2c10eda67baa2a48b07ff3c09ea"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 6},
        {"pad_id": 1},
        {"overlap": 0},
        {"config": {"packing": {"mode": "best_fit"}}},
        {"algorithms": {"keys": "keys-2"}},
        {"vocabulary": dataclasses.replace(EXAMPLE.vocabulary, fingerprint="abd")},
        {"splits": {"train": SplitInfo(shards=SHARDS[::-1])}},
        {"splits": {"train": SplitInfo(shards=(dataclasses.replace(SHARDS[0], crc32c=8), SHARDS[1]))}},
        {"features": EXAMPLE.features[:1]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_training_data_changes_the_fingerprint(change):
    assert dataclasses.replace(EXAMPLE, **change).fingerprint != EXAMPLE.fingerprint


@pytest.mark.parametrize("change", [{"totals": {}}, {"files": ()}, {"tokenreel_version": "9"}], ids=lambda change: next(iter(change)))
def test_what_describes_the_build_does_not(change):
    assert dataclasses.replace(EXAMPLE, **change).fingerprint == EXAMPLE.fingerprint


def test_any_altered_byte_is_refused():
    data = EXAMPLE.to_text().encode()
    draw = random.Random(0)
    for _ in range(500):
        altered = bytearray(data)
        altered[draw.randrange(len(data))] ^= draw.randrange(1, 256)
        with pytest.raises(ManifestError, match=r"^manifest.json: "):
            manifest.parse(altered.decode("utf-8", "replace"), "manifest.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "not JSON"),
        (lambda text: text[:-20], "not JSON"),
        (lambda text: "[]", "not a tokenreel manifest"),
        (lambda text: '{"format": "other"}', "not a tokenreel manifest"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 2'), "format version 2; this version of tokenreel reads 1"),
        (lambda text: text.replace('"seq_len"', '"sequence_length"'), "missing or malformed"),
        (lambda text: text.replace('"uint16"', '"uint17"'), "'uint17'"),
        (lambda text: json.dumps(json.loads(text)), "does not match its own digest"),
        (lambda text: text.replace('"seed": 5', '"seed": 6'), "does not match its own digest"),
        (lambda text: text + "\n", "does not match its own digest"),
    ],
)
def test_what_is_wrong_is_said(change, message):
    with pytest.raises(ManifestError, match=message):
        manifest.parse(change(EXAMPLE.to_text()), "manifest.json")


def test_reading_from_a_directory(tmp_path):
    with pytest.raises(ManifestError, match="its build did not finish"):
        manifest.read(str(tmp_path))
    (tmp_path / naming.MANIFEST).write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="not UTF-8"):
        manifest.read(str(tmp_path))
    (tmp_path / naming.MANIFEST).write_text(EXAMPLE.to_text(), encoding="utf-8", newline="")
    assert manifest.read(str(tmp_path)) == EXAMPLE


def test_offsets_in_the_manifest_are_where_the_values_lie():
    """A reader without tokenreel needs no more than this."""
    record = json.loads(EXAMPLE.to_text())["record"]
    template = EXAMPLE.layout.template
    assert record["record_bytes"] == len(template)
    assert [(row["name"], template[row["offset"] - 1]) for row in record["features"]] == [("example_id", 8), ("tokens", 10)]
