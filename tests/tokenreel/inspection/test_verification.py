import argparse
import dataclasses
import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import buckets
from tests import verification_datasets as datasets
from tests.frames import payloads
from tokenreel.commands import verify as verification
from tokenreel.format import manifest, naming, tfrecord
from tokenreel.format.example_codec import encode_lists
from tokenreel.inspection import shard_check
from tokenreel.inspection.verification import verify
from tokenreel.storage import files

SHARD = "train.tfrecord-00001-of-00016"
TABLE = "provenance/train-00001-of-00016.parquet"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dataset")
    datasets.make(directory, overlap=1, dead_letters=3)
    return directory


@pytest.fixture
def dataset(original, tmp_path):
    return shutil.copytree(original, tmp_path / "dataset")


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


def test_chunks_do_not_matter(dataset, monkeypatch):
    monkeypatch.setattr(shard_check, "_CHUNK_BYTES", 1000)
    assert verify(str(dataset)) == []
    flip(dataset / SHARD, 700, 0x10)
    assert len(verify(str(dataset))) == 2


def flip(path, at, bits):
    data = bytearray(path.read_bytes())
    data[at] ^= bits
    path.write_bytes(data)


def test_every_flipped_byte_of_a_shard_is_named(dataset):
    """File, record, and the very byte: by the template where records are alike, by the CRC's algebra elsewhere."""
    path = dataset / SHARD
    sound = path.read_bytes()
    size = manifest.read(str(dataset)).fixed_format.record_bytes
    draw = random.Random(0)
    for _ in range(400):
        at, bits = draw.randrange(len(sound)), draw.randrange(1, 256)
        flip(path, at, bits)
        found = verify(str(dataset))
        record = at // size
        assert len(found) == 2, found
        assert found[0].startswith(f"{SHARD}: record {record} at byte {record * size:,}: "), found[0]
        assert f"byte {at % size} (" in found[0], (at, found[0])
        assert found[1].startswith(f"{SHARD}: crc32c is ")
        path.write_bytes(sound)


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


def set_at(name, row, place, value):
    def change(arrays):
        arrays[name][row, place] = value

    return change


def set_row(name, row, value):
    def change(arrays):
        arrays[name][row] = value

    return change


LAST = "train.tfrecord-00015-of-00016"  # its last example is padded


@pytest.mark.parametrize(
    ("shard", "change", "message"),
    [
        (SHARD, set_row("example_id", 3, 99), "record 3 at byte 549: example_id is 99, its place in the split is 13"),
        (SHARD, set_row("num_tokens", 3, 0), "record 3 at byte 549: num_tokens is 0, not in 1 to 33"),
        (SHARD, set_row("num_tokens", 3, 34), "record 3 at byte 549: num_tokens is 34, not in 1 to 33"),
        (SHARD, set_at("tokens", 3, 7, 259), "record 3 at byte 549: token 259 at position 7 is none of the vocabulary's 259 ids"),
        (LAST, set_at("tokens", -1, -1, 7), "position 32 is padding and holds 7 instead of the pad id 0"),
        (LAST, set_at("document_starts", -1, -1, True), "a document starts at position 32, behind the"),
        (SHARD, set_at("tokens", 3, 0, 2), "record 3 at byte 549: begins with token 2, but the record before ends with"),
        (SHARD, set_row("document_starts", slice(None), False), f"{TABLE} begins a document at position"),
        (SHARD, set_row("document_starts", slice(None), True), "begins a document at position 1, " + TABLE + " does not"),
        (SHARD, set_row("num_tokens", 3, 30), "the segments of example 13 hold 33 tokens, the record 30"),
    ],
)
def test_a_wrong_value_is_named(dataset, shard, change, message):
    """All CRCs are right: only the values are not."""
    found = manifest.read(str(dataset))
    if shard == LAST:
        fixed_format = found.fixed_format
        data = np.frombuffer((dataset / shard).read_bytes(), dtype=np.uint8).reshape(-1, fixed_format.record_bytes)
        assert fixed_format.decode(data)["num_tokens"][-1] < 33
    else:
        assert found.fixed_format.record_bytes == 183
    datasets.rewrite(dataset, shard, found, change)
    datasets.sign(dataset)
    differences = verify(str(dataset))
    assert any(message in line for line in differences), differences


def test_the_overlap_is_checked_between_chunks(dataset, monkeypatch):
    monkeypatch.setattr(shard_check, "_CHUNK_BYTES", 183)  # one record a chunk
    datasets.rewrite(dataset, SHARD, manifest.read(str(dataset)), set_at("tokens", 3, 0, 2))
    datasets.sign(dataset)
    assert any("record 3 at byte 549: begins with token 2, but the record before" in line for line in verify(str(dataset)))


def edit_table(dataset, change):
    table = pq.read_table(dataset / TABLE).to_pydict()
    change(table)
    pq.write_table(pa.table(table), dataset / TABLE)
    datasets.sign(dataset)


def later_piece(column):
    """Moves the first piece, not at the beginning of the shard, that goes on with a document."""

    def change(table):
        row = next(row for row, start in enumerate(table["doc_token_start"]) if row and start)
        table[column][row] += 1

    return change


def changed(column, row, by):
    def change(table):
        table[column][row] += by

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("example", 0, -10), "row 0 names example 0, which train.tfrecord-00001-of-00016 does not hold"),
        (changed("example", 0, 5), "not sorted"),
        (changed("segment", 0, 1), "not sorted by example and segment, or a segment is missing"),
        (changed("length", 0, -1000), "row 0 describes"),
        (changed("length", 0, 1), "the segments of example 10 hold 34 tokens, the record 33"),
        (changed("doc_token_start", 0, -10_000), "row 0 describes"),
        (lambda table: [column.pop() for column in table.values()], "the segments of example 19 hold"),
        (lambda table: table["doc_id"].__setitem__(0, "x"), "row 0 goes on with x at its token"),
        (lambda table: table["doc_id"].__setitem__(-1, "x"), "goes on with x at its token"),
        (later_piece("doc_token_start"), "the row before ends elsewhere"),
    ],
)
def test_provenance_that_does_not_fit_is_named(dataset, change, message):
    edit_table(dataset, change)
    found = verify(str(dataset))
    assert any(line.startswith(TABLE) and message in line for line in found), found


def test_a_table_that_is_none_is_named(dataset):
    (dataset / TABLE).write_bytes(b"PAR1 no table PAR1")
    datasets.sign(dataset)
    assert [line.split(" (")[0] for line in verify(str(dataset))] == [f"{TABLE}: no readable table"]


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
    assert verify(str(dataset)) == [f"{naming.DEAD_LETTERS}: 3 lines, the manifest counts 4 dead letters"]


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


def test_int64_lists_are_checked_record_by_record(tmp_path):
    datasets.make(tmp_path, record_format="int64_list")
    path = tmp_path / "train.tfrecord-00000-of-00016"
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


def run(*argv):
    parser = argparse.ArgumentParser()
    verification.add_arguments(parser)
    return verification.run(parser.parse_args([str(argument) for argument in argv]))


def test_the_command_lists_and_counts(dataset, capsys):
    assert run(dataset) == 0
    assert "sound. 174 records in 19 shards" in capsys.readouterr().out
    assert run(dataset, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    flip(dataset / SHARD, 700, 1)
    (dataset / "notes.txt").write_text("")
    assert run(dataset) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err.endswith("dataset: 3 differences\n")


def test_what_an_optional_package_is_needed_for_is_said(dataset, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert run(dataset) == 0
    assert "provenance/train-00000-of-00016.parquet: not compared with the records" in capsys.readouterr().err


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
