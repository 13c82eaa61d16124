import dataclasses
import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.errors import ManifestError
from tokenreel.format import manifest, naming
from tokenreel.format.manifest import FileInfo, Manifest, ShardInfo, SplitInfo, VocabularyInfo
from tokenreel.format.schema import Feature

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


@pytest.mark.parametrize(
    "change",
    [{"totals": {}}, {"files": ()}, {"tokenreel_version": "9"}, {"objective_facts": {"mask_id": 4}}],
    ids=lambda change: next(iter(change)),
)
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
        (
            lambda text: text.replace('"format_version": 1', '"format_version": 3'),
            "format version 3; this version of tokenreel reads 1 and",
        ),
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
    template = EXAMPLE.fixed_format.template
    assert record["record_bytes"] == len(template)
    assert [(row["name"], template[row["offset"] - 1]) for row in record["features"]] == [("example_id", 8), ("tokens", 10)]


@given(st.data())
def test_facts_about_a_vocabulary_are_read_back(data):
    """Ids come back sorted and once each; arrays bit for bit, at any length."""
    size = data.draw(st.integers(1, 300))
    ids = data.draw(st.lists(st.integers(0, size - 1), max_size=20))
    begins = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    facts = {"vocab_size": size, "pad_id": 0, "special_ids": tuple(ids), "word_starts": begins, "mask_id": 7, "characters": ["a"] * size}
    packed = json.loads(json.dumps(manifest.pack_facts(facts)))
    found = manifest.unpack_facts(packed, size)
    assert found.keys() == {"special_ids", "word_starts", "mask_id"}
    assert found["special_ids"] == tuple(sorted(set(ids))) and found["mask_id"] == 7
    assert found["word_starts"].dtype == np.bool_ and found["word_starts"].tolist() == begins.tolist()


def test_facts_stay_small():
    begins = np.random.default_rng(0).random(256_000) < 0.5
    facts = manifest.pack_facts({"vocab_size": 256_000, "special_ids": tuple(range(1000)), "word_starts": begins, "characters": ["a"] * 9})
    assert len(json.dumps(facts)) < 256_000 / 6 + 200
    text = dataclasses.replace(EXAMPLE, objective_facts={"special_ids": [[0, 3]]}).to_text()
    assert manifest.parse(text, "manifest.json").objective_facts == {"special_ids": [[0, 3]]}


@pytest.mark.parametrize(
    "facts",
    [{"special_ids": [[0, 100]]}, {"special_ids": [[0, 10**18]]}, {"word_starts": "AA=="}, {"word_starts": "?"}, {"special_ids": 3}],
)
def test_facts_of_another_vocabulary_are_refused(facts):
    with pytest.raises(ManifestError, match="missing or malformed"):
        manifest.parse(dataclasses.replace(EXAMPLE, objective_facts=facts).to_text(), "manifest.json")
