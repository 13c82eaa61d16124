import dataclasses
import json
import random

import numpy as np
import pytest

from tests import buckets
from tests import verification_datasets as datasets
from tests.tokenreel.inspection.conftest import SHARD, TABLE, flip
from tokenreel.format import manifest, naming
from tokenreel.inspection import tally, verification
from tokenreel.inspection.verification import verify
from tokenreel.storage import files


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory):
    import sentencepiece

    path = tmp_path_factory.mktemp("vocabulary") / "small"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(datasets.texts(200)), model_prefix=str(path), vocab_size=60, pad_id=0, unk_id=1, bos_id=2, eos_id=3,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return f"{path}.model"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"overlap": 1},
        {"overlap": 1, "last_example": "drop"},
        {"last_example": "drop", "seq_len": 48},
        {"provenance": False},
        {"dead_letters": 3},
        {"record_format": "int64_list"},
        {"record_format": "int64_list", "overlap": 1, "last_example": "drop"},
        {"documents": {"train": 1}, "seq_len": 512},
    ],
    ids=str,
)
def test_a_sound_dataset_has_no_difference(tmp_path, options):
    datasets.make(tmp_path, **options)
    assert verify(str(tmp_path)) == []


def test_a_sound_dataset_with_a_model_has_no_difference(tmp_path, sentencepiece_model):
    datasets.make(tmp_path, vocabulary=("sentencepiece", sentencepiece_model))
    assert verify(str(tmp_path)) == []


def test_every_flipped_byte_of_any_other_file_is_named(dataset):
    draw = random.Random(1)
    names = sorted(str(path.relative_to(dataset)) for path in dataset.rglob("*") if path.is_file() and not naming.is_shard(path.name))
    assert {naming.MANIFEST, naming.STATISTICS, TABLE, naming.DEAD_LETTERS} <= set(names)
    for name in [draw.choice(names) for _ in range(100)] + [naming.MANIFEST] * 100:
        path = dataset / name
        sound = path.read_bytes()
        flip(path, draw.randrange(len(sound)), draw.randrange(1, 256))
        found = verify(str(dataset))
        assert found and all(name in line for line in found), (name, found)
        path.write_bytes(sound)


@pytest.mark.parametrize("name", [SHARD, TABLE, naming.STATISTICS, naming.DEAD_LETTERS])
def test_a_missing_file_is_named(dataset, name):
    (dataset / name).unlink()
    found = verify(str(dataset))
    assert len(found) == 1 and found[0].startswith(f"{name}: missing")


def test_a_missing_manifest_says_that_the_build_did_not_finish(dataset):
    (dataset / naming.MANIFEST).unlink()
    assert "did not finish" in verify(str(dataset))[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train.tfrecord-00016-of-00017", "not in the manifest"),
        ("notes.txt", "not in the manifest"),
        ("train.tfrecord-00000-of-00016.tmp-0123456789ab", "killed"),
    ],
)
def test_an_extra_file_is_named(dataset, name, message):
    (dataset / name).write_bytes(b"x")
    found = verify(str(dataset))
    assert len(found) == 1 and found[0].startswith(f"{name}: ") and message in found[0]


@pytest.mark.parametrize("name", [naming.REPORT, f"{naming.STAGE}/block.stage"])
def test_a_report_and_a_token_cache_are_no_difference(dataset, name):
    (dataset / name).parent.mkdir(exist_ok=True)
    (dataset / name).write_bytes(b"x")
    assert verify(str(dataset)) == []


@pytest.mark.parametrize(
    "field",
    "examples tokens_in_examples overlapping_tokens density document_starts segments segment_lengths special_tokens unknown_rate "  # noqa: SIM905
    "vocabulary_used frequent_tokens".split(),
)
def test_a_wrong_statistic_is_named(dataset, field):
    path = dataset / naming.STATISTICS
    statistics = json.loads(path.read_text())
    statistics["splits"]["validation"][field] = 0.123
    path.write_text(json.dumps(statistics))
    datasets.sign(dataset)
    assert [line.split(",")[0] for line in verify(str(dataset))] == [f"{naming.STATISTICS}: split validation: {field} is 0.123"]


def test_the_special_token_audit_counts_examples(tmp_path):
    """One example of eos alone, one with an unknown token, and padding in the last. Bytes know no bos."""
    datasets.make(tmp_path, documents={"train": 3}, seq_len=128)
    found = manifest.read(str(tmp_path))
    (shard,) = (info.file for info in found.splits["train"].shards)

    def change(arrays):
        arrays["tokens"][:] = np.where(np.arange(128) < arrays["num_tokens"][:, None], 100, 0)
        arrays["tokens"][0] = 1
        arrays["tokens"][1, 5] = 2

    datasets.rewrite(tmp_path, shard, found, change)
    datasets.sign(tmp_path)
    (line,) = [line for line in verify(str(tmp_path)) if "special_tokens" in line]
    assert line.endswith('the records hold {"eos": 1, "unk": 1, "pad": 1}')


def test_totals_that_do_not_add_up_are_named(dataset):
    totals = dict(manifest.read(str(dataset)).totals)
    datasets.sign(dataset, totals=totals | {"documents_read": totals["documents_read"] + 1})
    assert "were read, but" in verify(str(dataset))[0]
    datasets.sign(dataset, totals=totals | {"tokens_written": totals["tokens_written"] - 1, "tokens_dropped": totals["tokens_dropped"] + 1})
    assert [line.split(" make ")[1].split(" ")[0] for line in verify(str(dataset))] == ["tokens_written", "tokens_dropped"]
    datasets.sign(dataset, totals=totals | {"tokens": totals["tokens"] + 1})
    assert any("written +" in line for line in verify(str(dataset)))
    changed = {"documents_dead_lettered": totals["documents_dead_lettered"] + 1, "documents_read": totals["documents_read"] + 1}
    datasets.sign(dataset, totals=totals | changed)
    assert verify(str(dataset)) == [f"{naming.DEAD_LETTERS}: 3 dead letters, the manifest counts 4"]


def test_a_manifest_that_contradicts_itself_is_named(dataset):
    found = manifest.read(str(dataset))
    shards = list(found.splits["train"].shards)
    renamed = [dataclasses.replace(shards[0], file="train.tfrecord-00000-of-00099"), *shards[1:]]
    datasets_with = {**found.splits, "train": manifest.SplitInfo(shards=tuple(renamed))}
    write_manifest(dataset, dataclasses.replace(found, splits=datasets_with))
    assert "its place asks for train.tfrecord-00000-of-00016" in verify(str(dataset))[0]
    uneven = [shards[0], dataclasses.replace(shards[1], records=9), *shards[2:]]
    write_manifest(dataset, dataclasses.replace(found, splits={**found.splits, "train": manifest.SplitInfo(shards=tuple(uneven))}))
    differences = verify(str(dataset))
    assert any("must hold equally many" in line for line in differences)
    assert any("9 records of 183 bytes make 1,647" in line for line in differences)


def write_manifest(dataset, content):
    (dataset / naming.MANIFEST).write_text(content.to_text())


def test_another_vocabulary_is_named(tmp_path, sentencepiece_model):
    datasets.make(tmp_path, vocabulary=("sentencepiece", sentencepiece_model))
    found = manifest.read(str(tmp_path))
    datasets.sign(tmp_path, vocabulary=dataclasses.replace(found.vocabulary, fingerprint="0" * 32, eos_id=7))
    assert [line.split(" is ")[0] for line in verify(str(tmp_path)) if line.startswith("vocabulary.model")] == [
        "vocabulary.model: its fingerprint",
        "vocabulary.model: its eos_id",
    ]
    (tmp_path / "vocabulary.model").write_bytes(b"no model")
    datasets.sign(tmp_path)
    assert any(line.startswith("vocabulary.model: cannot be loaded") for line in verify(str(tmp_path)))


def test_what_cannot_be_told_of_the_text_is_noted(original, monkeypatch):
    monkeypatch.setattr(tally, "restore", lambda records, settings: None)
    notes = []
    assert list(verification.differences(str(original), note=notes.append)) == []
    assert notes == [
        f"split {split}: the records do not tell what stood before the objective, so counts of tokens are not compared"
        for split in ("train", "validation")
    ]


def test_a_dataset_in_a_bucket_is_checked_alike(original):
    with buckets.storage() as remote:
        for name in files.list_files(str(original)):
            files.write_bytes(f"{remote}/dataset/{name}", (original / name).read_bytes())
        assert verify(f"{remote}/dataset") == []
        data = bytearray((original / SHARD).read_bytes())
        data[700] ^= 1
        files.write_bytes(f"{remote}/dataset/{SHARD}", bytes(data))
        found = verify(f"{remote}/dataset")
        assert found[0].startswith(f"{SHARD}: record 3 at byte 549: ") and "byte 151 (" in found[0]
