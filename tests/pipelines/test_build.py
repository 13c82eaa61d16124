"""What a build makes of text: the right examples, readable by anyone, with nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import cli
from tests.conftest import tree_digest
from tests.frames import payloads
from tokenreel.format import manifest
from tokenreel.format.example_codec import decode_example
from tokenreel.storage import files

WriteConfig = Callable[..., str]


def build(config: str, *arguments: str) -> int:
    return cli.main(["build", config, "--direct_num_workers=1", *arguments])


def records(directory: pathlib.Path, split: str = "train") -> dict[str, np.ndarray]:
    """The examples of a split, read by the framing and the manifest's dtypes alone."""
    found = manifest.read(str(directory))
    rows: dict[str, list[np.ndarray]] = {feature.name: [] for feature in found.features}
    for shard in found.splits[split].shards:
        for payload in payloads(directory / shard.file):
            values = decode_example(payload)
            for feature in found.features:
                rows[feature.name].append(feature.from_bytes(np.frombuffer(values[feature.name][0], np.uint8)[None])[0])
    return {name: np.stack(values) for name, values in rows.items()}


def provenance(directory: pathlib.Path, split: str = "train") -> dict[str, list[Any]]:
    tables = [pq.read_table(path).to_pydict() for path in sorted((directory / "provenance").glob(f"{split}-*"))]
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


@pytest.fixture
def bytes_config(tmp_path: pathlib.Path) -> Callable[..., str]:
    """A config over files written by the test, with bytes for tokens."""

    def write(contents: dict[str, bytes], **settings: object) -> str:
        folder = tmp_path / "text"
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        config: dict[str, object] = {
            "output": str(tmp_path / "dataset"),
            "sources": [{"files": [str(folder)], "format": "lines"}],
            "vocabulary": {"kind": "bytes"},
            "packing": {"seq_len": 8},
            "order": {"mode": "source"},
            "execution": {"max_dead_letter_fraction": 1.0},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, **settings}))
        return str(tmp_path / "config.yaml")

    return write


def test_keras_hub_701(bytes_config: Callable[..., str], tmp_path: pathlib.Path) -> None:
    """Documents of 13 and 10 tokens, `</s>` after each, L = 8: three full examples and one left-over `</s>`."""
    assert build(bytes_config({"a.txt": b"ABCDEFGHIJKLM\nabcdefghij\n"})) == 0
    found = records(tmp_path / "dataset")
    text = ["".join("$" if token == 1 else chr(token - 3) for token in row) for row in found["tokens"]]
    assert text == ["ABCDEFGH", "IJKLM$ab", "cdefghij"]
    assert np.argwhere(found["document_starts"]).tolist() == [[0, 0], [1, 6]]
    assert manifest.read(str(tmp_path / "dataset")).totals["tokens_dropped"] == 1


@pytest.mark.parametrize("last_example", ["drop", "pad"])
@pytest.mark.parametrize("overlap", [0, 1])
@pytest.mark.parametrize("mode", ["source", "shuffle"])
def test_wrap_equals_a_sequential_wrap(
    write_config: WriteConfig, unigram_model: str, tmp_path: pathlib.Path, mode: str, overlap: int, last_example: str
) -> None:
    import sentencepiece

    packing = {"seq_len": 32, "overlap": overlap, "last_example": last_example}
    config = write_config(packing=packing, order={"mode": mode, "group_tokens": 9_000}, splits={}, shards={"examples": 128})
    assert build(config, "--set", "execution.block_mb=0.02") == 0
    found, segments = records(tmp_path / "dataset"), provenance(tmp_path / "dataset")
    names = list(dict.fromkeys(segments["doc_id"]))  # in the order in which they lie

    processor = sentencepiece.SentencePieceProcessor(model_file=unigram_model)
    texts = read_texts(yaml.safe_load(pathlib.Path(config).read_text())["sources"][0]["files"][0])
    if mode == "source":
        assert names == sorted(names, key=lambda name: (name.rpartition("#")[0].encode(), int(name.rpartition("#")[2])))
    if last_example == "pad":
        assert set(names) == set(texts)
    stream = np.concatenate([[*processor.encode(texts[name]), 1] for name in names])
    expected = [stream[i : i + 32 + overlap] for i in range(0, len(stream) - overlap, 32)]
    lengths = found.get("num_tokens", np.full(len(found["tokens"]), 32 + overlap))
    for row, length, wanted in zip(found["tokens"], lengths, expected, strict=False):
        # The stream ends where the last named document ends, so the last example may be followed by documents that were dropped whole.
        assert row[: min(length, len(wanted))].tolist() == wanted[:length].tolist()
        assert (row[length:] == 0).all()
    assert abs(len(expected) - len(found["tokens"])) <= (last_example == "drop")
    assert found["example_id"].tolist() == list(range(len(found["tokens"])))


def read_texts(folder: str) -> dict[str, str]:
    """Every document of the corpus by name, read in the plainest way."""
    import zstandard

    texts = {}
    for path in sorted(pathlib.Path(folder).rglob("*.jsonl*")):
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        elif path.suffix == ".zst":
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        position = 0
        for line in data.splitlines(keepends=True):
            if line.strip():
                texts[f"{path.relative_to(folder)}#{position}"] = json.loads(line)["text"]
            position += len(line)
    return texts


def test_best_fit_cuts_no_document_that_fits(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_config(packing={"mode": "best_fit", "seq_len": 256})
    assert build(config) == 0
    segments = provenance(tmp_path / "dataset")
    lengths: dict[str, list[tuple[int, int]]] = {}
    for name, start, length in zip(segments["doc_id"], segments["doc_token_start"], segments["length"], strict=True):
        lengths.setdefault(name, []).append((start, length))
    for pieces in lengths.values():
        pieces.sort()
        assert [start for start, _ in pieces] == np.cumsum([0, *(length for _, length in pieces)])[:-1].tolist()
        assert len(pieces) == 1 or all(length == 256 for _, length in pieces[:-1])
    statistics = json.loads((tmp_path / "dataset/statistics.json").read_text())["splits"]["train"]
    assert statistics["density"] > 0.95
    assert statistics["cut_documents"] == sum(len(pieces) > 1 for pieces in lengths.values())


@pytest.mark.tensorflow
def test_tensorflow_reads_the_shards(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    assert build(write_config()) == 0
    expected = records(tmp_path / "dataset")
    names = sorted(str(path) for path in (tmp_path / "dataset").glob("train.tfrecord-*"))
    dataset = tf.data.TFRecordDataset(names)
    parsed = dataset.map(lambda record: tf.io.parse_example(record, {"tokens": tf.io.FixedLenFeature([], tf.string)}))
    tokens = np.stack([np.frombuffer(row["tokens"].numpy(), "<u2") for row in parsed])
    np.testing.assert_array_equal(tokens, expected["tokens"])
    for payload in dataset.take(3):
        assert tf.train.Example.FromString(payload.numpy()).SerializeToString(deterministic=True) == payload.numpy()


@pytest.mark.tensorflow
def test_int64_lists_hold_the_same(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    assert build(write_config()) == 0
    expected = records(tmp_path / "dataset")
    assert build(write_config(output=str(tmp_path / "lists"), shards={"examples": 300, "format": "int64_list"})) == 0
    names = sorted(str(path) for path in (tmp_path / "lists").glob("train.tfrecord-*"))
    features = {name: tf.io.FixedLenFeature(values.shape[1:], tf.int64) for name, values in expected.items()}
    rows = [tf.io.parse_single_example(record, features) for record in tf.data.TFRecordDataset(names)]
    for name, values in expected.items():
        np.testing.assert_array_equal(np.stack([row[name].numpy() for row in rows]), values.astype(np.int64))


def test_seqio_finds_its_files_and_loses_the_mark_of_completion_first(
    bytes_config: Callable[..., str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"packing": {"seq_len": 16}, "seqio_view": True}
    text = {"a.txt": b"".join(b"line %d\n" % n for n in range(60))}
    assert build(bytes_config(text, **settings)) == 2
    assert "seqio_view needs shards.format int64_list: of fixed records SeqIO reads bytes" in capsys.readouterr().err
    settings["shards"] = {"examples": 20, "format": "int64_list", "provenance": False}
    assert build(config := bytes_config(text, **settings)) == 0
    output = tmp_path / "dataset"
    found, info = manifest.read(str(output)), json.loads((output / "info.train.json").read_text())
    assert info["num_shards"] == len(found.splits["train"].shards) > 1
    assert info["features"]["tokens"] == {"dtype": "int32", "shape": [16]} == info["features"]["document_starts"]
    assert json.loads((output / "stats.train.json").read_text()) == {"examples": found.splits["train"].examples}
    assert cli.main(["verify", str(output)]) == 0
    removed: list[str] = []
    remove = files.remove
    monkeypatch.setattr(files, "remove", lambda path: (removed.append(os.path.basename(path)), remove(path)))
    assert build(config, "--set", "seed=3", "--overwrite") == 0
    assert removed[:2] == ["COMPLETED", "manifest.json"] and (output / "COMPLETED").exists()
    assert build(config, "--set", "seqio_view=false", "--overwrite") == 0
    assert not list(output.glob("*train.json")) and not (output / "COMPLETED").exists()


def test_formats_of_plain_text(bytes_config: Callable[..., str], tmp_path: pathlib.Path) -> None:
    content = {"a.txt": b"\xef\xbb\xbfone\r\n\r\ntwo\nthree\n\n\n \nfour", "b.txt": b"five\n"}
    expected = {
        "lines": {"a.txt#3": "one", "a.txt#10": "two", "a.txt#14": "three", "a.txt#24": "four", "b.txt#0": "five"},
        "paragraphs": {"a.txt#3": "one", "a.txt#10": "two\nthree", "a.txt#24": "four", "b.txt#0": "five"},
        "text": {"a.txt#3": "one\r\n\r\ntwo\nthree\n\n\n \nfour", "b.txt#0": "five\n"},
    }
    for kind, documents in expected.items():
        for block_mb in (1.0, 0.000004):
            output = tmp_path / f"{kind}-{block_mb}"
            config = bytes_config(
                content,
                output=str(output),
                sources=[{"files": [str(tmp_path / "text")], "format": kind}],
                packing={"seq_len": 64, "mode": "best_fit", "add_eos": False},
                execution={"block_mb": block_mb},
                filters={"min_characters": 2},
            )
            assert build(config) == 0
            found, segments = records(output), provenance(output)
            texts = {}
            offset = 0
            for i, (example, place) in enumerate(zip(segments["example"], segments["segment"], strict=True)):
                offset = 0 if place == 0 else offset
                tokens = found["tokens"][example][offset : offset + segments["length"][i]]
                offset += segments["length"][i]
                texts[segments["doc_id"][i]] = bytes(int(token) - 3 for token in tokens).decode()
            assert texts == documents, kind


BAD = {
    "invalid_utf8": (b'{"text": "caf\xe9"}', "byte 0xe9 at byte 13"),
    "invalid_json": (b'{"text": "cut of', "Unterminated string"),
    "not_an_object": (b"[1, 2]", "JSON list"),
    "no_text": (b'{"txt": "a"}', "no field 'text'"),
    "text_not_a_string": (b'{"text": 7}', "holds a int"),
    "lone_surrogate": (b'{"text": "\\ud800"}', "surrogate"),
}


def test_bad_documents_become_dead_letters(bytes_config: Callable[..., str], tmp_path: pathlib.Path) -> None:
    lines = []
    for line, _ in BAD.values():
        lines += [b'{"text": "good one, long enough"}', line]
    lines += [b'{"text": ""}', b'{"text": NaN}', b"[" * 100_000, b'{"text": "x", "n": ' + b"9" * 5000 + b"}"]
    contents = {"a.jsonl": b"\n".join(lines), "b.jsonl.gz": gzip.compress(b'{"text": "cut"}\n' * 40_000)[:-60]}
    for block_mb in (16, 0.00005):
        config = bytes_config(
            contents,
            sources=[{"files": [str(tmp_path / "text")], "format": "jsonl"}],
            output=str(tmp_path / f"dataset-{block_mb}"),
            execution={"max_dead_letter_fraction": 1.0, "block_mb": block_mb},
        )
        assert build(config) == 0
        output = tmp_path / f"dataset-{block_mb}"
        letters = [json.loads(line) for line in (output / "dead_letters/dead_letters.jsonl").read_text().splitlines()]
        by_reason = {letter["reason"]: letter for letter in letters}
        for number, (reason, (line, message)) in enumerate(BAD.items()):
            letter = by_reason[reason] if reason != "text_not_a_string" else next(x for x in letters if x["reason"] == reason)
            if reason != "invalid_json":
                assert message in letter["message"]
            assert (letter["file"], letter["line"]) == ("a.jsonl", 2 * number + 2) or reason == "invalid_json"
            assert reason == "invalid_json" or letter["excerpt"].encode() == line.replace(b"\xe9", "\ufffd".encode())
        assert by_reason["broken_archive"]["file"] == "b.jsonl.gz"
        totals = manifest.read(str(output)).totals
        good = totals["documents_written"] + totals["documents_dropped"]
        assert totals["documents_dead_lettered"] == len(letters)
        assert totals["documents_read"] == good + totals["documents_filtered"]["empty"] + len(letters)
        assert totals["documents_filtered"] == {"empty": 1}
    assert tree_digest(tmp_path / "dataset-16") == tree_digest(tmp_path / "dataset-5e-05")


def test_too_many_dead_letters_fail_the_build(
    bytes_config: Callable[..., str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = bytes_config(
        {"a.jsonl": b'{"text": "good enough"}\n{"body": "bad"}\n'},
        sources=[{"files": [str(tmp_path / "text")], "format": "jsonl"}],
        execution={"max_dead_letter_fraction": 0.25},
    )
    assert build(config) == 1
    error = capsys.readouterr().err
    assert "1 of 2 documents could not be read (1 no_text)" in error
    assert "a.jsonl line 2: no field 'text'" in error
    assert not (tmp_path / "dataset/manifest.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": {"path": "/nowhere.model"}}, "/nowhere.model: cannot read"),
        ({"sources": [{"files": ["/nowhere/*.jsonl"]}]}, "/nowhere/*.jsonl: no file matches"),
        ({"packing": {"seqlen": 8}}, "unknown setting 'packing.seqlen': did you mean 'seq_len'?"),
        ({"packing": {"seq_len": "8"}}, "packing.seq_len must be a whole number"),
        ({"packing": {"seq_len": 1}}, "packing.seq_len must be at least 2"),
        ({"packing": {"mode": "best_fit", "overlap": 1}}, "packing.overlap is not a setting of mode best_fit"),
        ({"packing": {"mode": "worst_fit"}}, "packing.mode must be one of"),
        ({"splits": {"validation": "120%"}}, "splits.validation must lie between 0 and 1"),
        ({"splits": {"train": 0.5}}, "splits.train is what the other splits leave"),
        ({"sources": []}, "sources is empty"),
        ({"vocabulary": {"kind": "bytes"}, "packing": {"add_bos": True}}, "packing.add_bos is set but the vocabulary has no bos id"),
        ({"packing": {"seq_len": 1 << 20}}, "fill no example"),
        ({"packing": {"seq_len": 1 << 30}}, "packing.seq_len must be at least 2 and at most 16,777,216"),
    ],
)
def test_mistakes_get_one_clear_line(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str], settings: dict[str, object], message: str
) -> None:
    assert build(write_config(**settings)) in (1, 2)
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tokenreel: error:")]
    assert len(error) == 1
    assert message in error[0]


def test_a_text_file_is_no_model(write_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fake.model").write_text("hello")
    assert build(write_config(vocabulary={"path": str(tmp_path / "fake.model")})) == 2
    assert "fake.model: not a SentencePiece model" in capsys.readouterr().err


def test_a_file_that_vanishes_stops_the_build(
    bytes_config: Callable[..., str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tokenreel.storage import files

    config = bytes_config({"a.txt": b"some text\n" * 10, "b.txt": b"more text\n" * 10})
    opened = files.open_read

    def vanish(path: str, *version: Any) -> Any:
        if path.endswith("b.txt"):
            pathlib.Path(path).unlink(missing_ok=True)
        return opened(path, *version)

    monkeypatch.setattr(files, "open_read", vanish)
    assert build(config) == 2
    assert "b.txt: vanished after it was listed" in capsys.readouterr().err
    assert not (tmp_path / "dataset/manifest.json").exists()


def test_overrides_reach_every_setting(bytes_config: Callable[..., str], tmp_path: pathlib.Path) -> None:
    config = bytes_config({"a.txt": b"0123456789\n", "sub/b.txt": b"abcdefghij\n"})
    other = tmp_path / "other"
    overrides = ["--set", "packing.seq_len=4", "--set", "sources.0.name=other", "--input", str(tmp_path / "text/sub/b.txt")]
    assert build(config, "--output", str(other), *overrides) == 0
    found = manifest.read(str(other))
    assert (found.seq_len, found.config["sources"][0]["name"]) == (4, "other")
    assert set(provenance(other)["doc_id"]) == {"b.txt#0"}


def test_a_directory_is_not_built_over(
    bytes_config: Callable[..., str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = bytes_config({"a.txt": b"0123456789\n"})
    output = tmp_path / "dataset"
    assert build(config) == 0
    before = tree_digest(output)
    assert build(config) == 0
    assert "complete already" in capsys.readouterr().err
    assert build(config, "--set", "seed=1") == 1
    assert "holds a finished dataset with other seed" in capsys.readouterr().err
    assert tree_digest(output) == before
    assert build(config, "--set", "packing.seq_len=4", "--overwrite") == 0
    assert manifest.read(str(output)).seq_len == 4
    (output / "thesis.tex").write_text("")
    assert build(config, "--overwrite") == 1
    assert "such as thesis.tex" in capsys.readouterr().err


def test_a_kept_stage_serves_other_layouts(bytes_config: Callable[..., str], tmp_path: pathlib.Path) -> None:
    config = bytes_config({"a.txt": b"0123456789\nabcdef\n" * 50}, execution={"stage": str(tmp_path / "stage")})
    assert build(config) == 0
    stages = {path: path.stat().st_mtime_ns for path in (tmp_path / "stage").iterdir()}
    assert build(config, "--output", str(tmp_path / "other"), "--set", "packing.seq_len=16", "--set", "seed=3") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "stage").iterdir()} == stages
    assert not (tmp_path / "other/.stage").exists()


def test_tokens_never_pass_through_the_runner(write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every element between stages is metadata: its size does not grow with the text."""
    from apache_beam.runners.portability.fn_api_runner import execution

    sizes: dict[int, int] = {}
    append = execution.ListBuffer.append

    def measured(self: Any, element: bytes) -> None:
        sizes[scale] = max(sizes.get(scale, 0), len(element))
        append(self, element)

    monkeypatch.setattr(execution.ListBuffer, "append", measured)
    for scale, repeats in enumerate((1, 8)):
        lines = [json.dumps({"text": f"document {i} " + "of some words " * 200}) for i in range(100 * repeats)]
        (tmp_path / f"{scale}.jsonl").write_text("\n".join(lines))
        source = [{"files": [str(tmp_path / f"{scale}.jsonl")]}]
        assert build(write_config(sources=source, output=str(tmp_path / str(scale)), shards={}, order={})) == 0
    assert len(sizes) == 2
    assert sizes[1] < sizes[0] * 1.5 + 1000


@pytest.mark.parametrize("packing", [{"seq_len": 64}, {"seq_len": 256, "mode": "best_fit"}])
def test_documents_sorted_by_a_field(
    write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path, packing: dict[str, object]
) -> None:
    source = {"files": [str(corpus)], "metadata_fields": ["number"], "order_field": "number"}
    config = write_config(sources=[source], packing=packing, order={"mode": "field", "group_tokens": 20_000}, splits={})
    assert build(config) == 0
    assert build(config, "--output", str(tmp_path / "blocks"), "--set", "execution.block_mb=0.01") == 0
    assert tree_digest(tmp_path / "blocks") == tree_digest(tmp_path / "dataset")
    numbers = [int(number) for number in provenance(tmp_path / "dataset")["meta.number"]]
    if packing["seq_len"] == 64:
        assert numbers == sorted(numbers)
    else:  # sorted by groups, and packed within them
        assert np.corrcoef(numbers, np.arange(len(numbers)))[0, 1] > 0.9


def test_sources_are_kept_apart(write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path) -> None:
    sources = [{"name": name, "files": [str(corpus / f"{name}.jsonl")]} for name in ("plain", "crlf")]
    for order in ("shuffle", "source"):
        packing = {"seq_len": 128, "mode": "best_fit", "per_source": True}
        config = write_config(sources=sources, packing=packing, order={"mode": order, "group_tokens": 5_000})
        assert build(config, "--overwrite") == 0
        segments = provenance(tmp_path / "dataset")
        by_example: dict[int, set[str]] = {}
        for example, source in zip(segments["example"], segments["source"], strict=True):
            by_example.setdefault(example, set()).add(source)
        assert all(len(found) == 1 for found in by_example.values())
        assert set().union(*by_example.values()) == {"plain", "crlf"}
