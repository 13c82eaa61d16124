"""`tokenreel train-tokenizer`: the same text gives the same tokenizer, however the job runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import sentencepiece
import yaml

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tests.pipelines.test_determinism import job_service
from tokenreel.storage import files
from tokenreel.tokenizer_training import sample_plan
from tokenreel.vocabularies import character_fitting
from tokenreel.vocabularies.loading import load_vocabulary

WriteConfig = Callable[..., str]
CHARACTER_MODEL = {"model_type": "char", "hard_vocab_limit": False}
TOKENIZERS = sorted(pathlib.Path("configs/tokenizers").glob("*.yaml"))
PRESETS = [
    pytest.param(path, id=path.stem, marks=pytest.mark.tensorflow if "kind: characters" in path.read_text() else ()) for path in TOKENIZERS
]


@pytest.fixture
def write_tokenizer_config(tmp_path: pathlib.Path, corpus: pathlib.Path, texts: list[str]) -> WriteConfig:
    """Writes a config over two sources; keyword arguments replace whole top-level settings."""
    more = tmp_path / "more"
    more.mkdir()
    (more / "a.txt.gz").write_bytes(gzip.compress("\n".join(texts[700:1000]).encode(), mtime=0))
    (more / "b.txt").write_text("\n".join(texts[1000:1200]), encoding="utf-8")

    def write(name: str = "config.yaml", **settings: object) -> str:
        config: dict[str, object] = {
            "output": str(tmp_path / "tokenizer"),
            "sources": [
                {"name": "docs", "files": [str(corpus)]},
                {"name": "lines", "files": [str(more)], "format": "lines"},
            ],
            "options": {
                "vocab_size": 400,
                "model_type": "bpe",
                "byte_fallback": True,
                "user_defined_symbols": ["\n"],
                "normalization_rule_name": "identity",
            },
            "sample_bytes": 150_000,
            "weights": {"docs": 2, "lines": 1},
            "held_out_bytes": 20_000,
            "seed": 3,
        }
        path = tmp_path / name
        path.write_text(yaml.safe_dump({**config, **settings}))
        return str(path)

    return write


def train(config: str, output: pathlib.Path, *arguments: str) -> dict[str, str]:
    assert cli.main(["train-tokenizer", config, "--output", str(output), "--direct_num_workers=1", *arguments]) == 0
    return tree_digest(output)


def report(directory: pathlib.Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "tokenizer_report.json").read_text())
    return found


def test_the_model_works_and_the_report_is_true(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    digests = train(write_tokenizer_config(), tmp_path / "a")
    assert set(digests) == {"tokenizer.model", "tokenizer_report.json"}, "nothing else is left"
    found = report(tmp_path / "a")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "a/tokenizer.model"))
    assert processor.vocab_size() == found["model"]["vocab_size"] == 400
    assert found["fingerprint"] == load_vocabulary("sentencepiece", str(tmp_path / "a/tokenizer.model")).fingerprint
    assert 149_990 <= found["sample"]["bytes"] <= 150_000
    docs, lines = found["sources"]["docs"], found["sources"]["lines"]
    assert docs["sample"]["bytes"] + lines["sample"]["bytes"] == found["sample"]["bytes"]
    assert docs["sample"]["share"] == pytest.approx(2 / 3, abs=1e-3)
    assert docs["coverage"]["measured_on"] == lines["coverage"]["measured_on"] == "held_out"
    assert 13_000 < docs["coverage"]["bytes"] < 120_000
    overall = found["coverage"]
    assert overall["tokens"] == docs["coverage"]["tokens"] + lines["coverage"]["tokens"]
    assert overall["tokens_per_byte"] == overall["tokens"] / overall["bytes"]
    assert overall["unknown_tokens"] == 0 and overall["character_coverage"] > 0.99
    assert 0 <= found["sample"]["bytes"] - found["training"]["bytes"] < 6_000  # line ends
    assert docs["text"]["documents"] == 701 and docs["text"]["documents_over_max_document_bytes"] == 0
    assert docs["text"]["dead_letters"] == {}


def test_how_the_job_runs_changes_nothing(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_tokenizer_config(options={"vocab_size": 400, "model_type": "unigram", "byte_fallback": True})
    expected = train(config, tmp_path / "reference")
    threads = ["--direct_num_workers=4", "--direct_running_mode=multi_threading"]
    assert train(config, tmp_path / "threads", "--set", "execution.block_mb=0.003", *threads) == expected
    assert train(config, tmp_path / "replayed", "--direct_runner_bundle_repeat=2", "--set", "execution.block_mb=0.05") == expected


def test_processes_change_nothing(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_tokenizer_config()
    expected = train(config, tmp_path / "reference")
    command = [sys.executable, "-m", "pipelines.train_tokenizer", config, "--output", str(tmp_path / "processes")]
    options = ["--set", "execution.block_mb=0.05", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    subprocess.run([*command, *options], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=300)
    assert tree_digest(tmp_path / "processes") == expected


def test_a_wrong_guess_changes_nothing(
    write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_tokenizer_config()
    expected = train(config, tmp_path / "reference")
    for limits in ((1, 1), (sample_plan.BUCKETS, sample_plan.BUCKETS), (0, sample_plan.BUCKETS)):
        monkeypatch.setattr(sample_plan, "guess_limits", lambda *_, limits=limits: limits)
        assert train(config, tmp_path / str(limits), "--set", "execution.block_mb=0.02") == expected


def test_shuffled_listings_and_moved_files_change_nothing(
    write_tokenizer_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    sources = [{"name": "docs", "files": [str(corpus)]}]
    expected = train(write_tokenizer_config(sources=sources, weights={}), tmp_path / "a")
    names = random.Random(1).sample([str(path) for path in corpus.rglob("*") if path.is_file()], len(list(corpus.rglob("*.*"))))
    listed = [{"name": "docs", "files": names}]
    assert train(write_tokenizer_config(sources=listed, weights={}), tmp_path / "b") == expected


def test_the_seed_changes_the_model(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    first, second = (train(write_tokenizer_config(seed=seed), tmp_path / str(seed)) for seed in (1, 2))
    assert first["tokenizer.model"] != second["tokenizer.model"]


def test_a_finished_tokenizer_is_kept_and_another_is_refused(
    write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = write_tokenizer_config(), tmp_path / "a"
    expected = train(config, output)
    changed = (output / "tokenizer.model").stat().st_mtime_ns
    capsys.readouterr()
    assert train(config, output) == expected
    assert "is complete already" in capsys.readouterr().err
    assert (output / "tokenizer.model").stat().st_mtime_ns == changed
    other = ["train-tokenizer", config, "--output", str(output), "--set", "options.vocab_size=350", "--direct_num_workers=1"]
    assert cli.main(other) == 1
    assert "holds a tokenizer of other settings or text. Add --overwrite" in capsys.readouterr().err
    assert tree_digest(output) == expected
    assert cli.main([*other, "--overwrite"]) == 0
    assert report(output)["model"]["vocab_size"] == 350
    (output / "notes.txt").write_text("mine")
    assert cli.main([*other, "--overwrite"]) == 1
    assert "holds 1 file that train-tokenizer does not write, such as notes.txt" in capsys.readouterr().err
    (output / "notes.txt").unlink()
    (output / ".stage").mkdir()
    (output / ".stage/build.json").write_text("{}")  # an unfinished build, whose tokens are worth keeping
    assert cli.main([*other, "--overwrite"]) == 1
    assert "such as .stage/build.json" in capsys.readouterr().err


@pytest.mark.tensorflow  # where it is not installed this would say nothing
def test_tensorflow_is_not_imported_for_sentencepiece(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    command = ["train-tokenizer", write_tokenizer_config(), "--output", str(tmp_path / "a"), "--direct_num_workers=1"]
    program = f"import sys; from pipelines import cli; code = cli.main({command!r}); sys.exit(code or 'tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})


def test_a_bucket_changes_nothing(write_tokenizer_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config = write_tokenizer_config(sources=[{"name": "docs", "files": [str(corpus)]}], weights={})
    expected = train(config, tmp_path / "a")
    with buckets.storage() as bucket:
        buckets.upload(corpus, f"{bucket}/texts")
        arguments = ["--input", f"{bucket}/texts/**", "--output", f"{bucket}/tokenizer", "--direct_num_workers=1"]
        assert cli.main(["train-tokenizer", config, *arguments]) == 0
        found = {name: files.read_bytes(f"{bucket}/tokenizer/{name}") for name in files.list_files(f"{bucket}/tokenizer")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == expected


@pytest.mark.slow
def test_a_portable_job_service_changes_nothing(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_tokenizer_config()
    expected = train(config, tmp_path / "a")
    with job_service() as endpoint:
        options = ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]
        assert train(config, tmp_path / "portable", "--set", "execution.block_mb=0.05", *options) == expected


def test_leftovers_of_a_killed_run_are_cleared(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_tokenizer_config()
    expected = train(config, tmp_path / "a")
    killed = tmp_path / "b"
    (killed / ".stage/tokenizer_sample").mkdir(parents=True)
    (killed / ".stage/tokenizer_sample/0000-00000000-00000-00001.sample").write_bytes(b"half")
    (killed / "tokenizer.model").write_bytes(b"older")
    (killed / "tokenizer.model.tmp-0123456789ab").write_bytes(b"half")
    assert train(config, killed) == expected


def test_the_directory_for_sampled_text_can_be_chosen(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    stage = tmp_path / "stage"
    expected = train(write_tokenizer_config(), tmp_path / "a")
    (tmp_path / "stage").mkdir()
    (stage / "theirs").write_text("kept")
    assert train(write_tokenizer_config(), tmp_path / "b", "--set", f"execution.stage={stage}") == expected
    assert set(files.list_files(str(stage))) == {"theirs"}


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"options": {"vocab_sise": 1}}, 2, "options.vocab_sise: SentencePiece's trainer has no such option; did you mean 'vocab_size'?"),
        ({"options": {"vocab_size": 50_000}}, 2, "Take a smaller options.vocab_size or more text."),
        ({"kind": "words"}, 2, "kind must be one of sentencepiece, characters, got 'words'"),
        ({"sample_byte": 1}, 2, "unknown setting 'sample_byte': did you mean 'sample_bytes'?"),
        ({"sample_bytes": 0}, 2, "sample_bytes must be at least 1, got 0"),
        ({"weights": {"docs": 1}}, 2, "weights must name every source once"),
        ({"weights": {"docs": 1, "lines": 0}}, 2, "weights.lines must be positive, got 0"),
        (
            {"filters": {"min_tokens": 5}},
            2,
            "source docs: filters.min_tokens and filters.max_tokens need tokens, of which there are none yet",
        ),
        ({"filters": {"min_characters": 10**9}}, 1, "documents were left out: "),
        ({"splits": {"a": 2}}, 2, "splits.a must lie between 0 and 1"),
        ({"output": ""}, 2, "output is empty"),
        ({"sources": []}, 2, "sources is empty"),
        ({"sources": [{"files": ["/nowhere/*.jsonl"]}], "weights": {}}, 2, "/nowhere/*.jsonl: no file matches"),
    ],
)
def test_mistakes_are_named(
    write_tokenizer_config: WriteConfig,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, Any],
    code: int,
    message: str,
) -> None:
    assert cli.main(["train-tokenizer", write_tokenizer_config(**settings), "--direct_num_workers=1"]) == code
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown
    assert not (tmp_path / "tokenizer/tokenizer.model").exists()


def test_what_cannot_be_read_is_counted_or_refused(
    write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"text": f"some words of document {i}"}) for i in range(95)] + ["{", '{"text": 3}'] * 2 + ['{"name": 1}']
    (tmp_path / "bad.jsonl").write_text("\n".join(lines))
    (tmp_path / "good.jsonl").write_text("\n".join(lines[:95]))
    settings: dict[str, Any] = {"options": CHARACTER_MODEL, "weights": {}}
    train(write_tokenizer_config(sources=[{"files": [str(tmp_path / "bad.jsonl")]}], **settings), tmp_path / "a")
    found = report(tmp_path / "a")["sources"]["text"]["text"]
    assert found["dead_letters"] == {"invalid_json": 2, "no_text": 1, "text_not_a_string": 2} and found["documents"] == 95
    assert "documents that could not be read 5" in capsys.readouterr().out
    strict = write_tokenizer_config(sources=[{"files": [str(tmp_path / "bad.jsonl")]}], **settings)
    refused = ["train-tokenizer", strict, "--set", "execution.max_dead_letter_fraction=0.01", "--direct_num_workers=1"]
    assert cli.main(refused) == 1
    shown = capsys.readouterr().err
    assert "5 of 100 documents could not be read" in shown and "text: bad.jsonl byte " in shown


@pytest.fixture
def write_character_config(tmp_path: pathlib.Path, write_tokenizer_config: WriteConfig) -> WriteConfig:
    """Writes a config that counts every character of a text with line ends, NUL, ties and rare ones."""
    folder = tmp_path / "characters"
    folder.mkdir()
    for part in range(3):
        lines = [json.dumps({"text": text}) for text in CHARACTERS[part::3]]
        (folder / f"{part}.jsonl").write_text("\n".join(lines))
    sources = [{"name": "docs", "files": [str(folder)]}]

    def write(name: str = "config.yaml", **settings: object) -> str:
        whole: dict[str, object] = {"kind": "characters", "sources": sources, "weights": {}, "sample_bytes": None, "options": {}}
        return write_tokenizer_config(name, **{**whole, **settings})

    return write


CHARACTERS = ["b\r\na\0b\u2028", "", "日本 語", "x" * 70, "e\u0301 É", "y ", "a\n\n", "😀😀", "\u0301y", *(f"{i} line" for i in range(300))]


@pytest.mark.tensorflow
def test_every_character_is_counted(write_character_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    train(write_character_config(), tmp_path / "a", "--set", "execution.block_mb=0.001")
    model = json.loads((tmp_path / "a/tokenizer.json").read_text())
    expected = Counter("".join(CHARACTERS))
    assert list(zip(model["characters"], model["counts"], strict=True)) == sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    found = report(tmp_path / "a")
    assert found["sample"]["of"] == "all text" and found["sample"]["bytes"] == len("".join(CHARACTERS).encode())
    assert found["coverage"]["character_coverage"] == 1 and found["coverage"]["tokens"] == found["coverage"]["characters"]
    assert found["sources"]["docs"]["coverage"]["measured_on"] == "sample"


@pytest.mark.tensorflow
def test_the_options_of_characters(write_character_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    options = {"min_count": 2, "max_size": 9, "normalizer": "nfc"}
    train(write_character_config(options=options), tmp_path / "a")
    model = json.loads((tmp_path / "a/tokenizer.json").read_text())
    counts = Counter("".join(unicodedata.normalize("NFC", text) for text in CHARACTERS))  # documents apart: no é across them
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert list(zip(model["characters"], model["counts"], strict=True)) == [item for item in ranked if item[1] >= 2][:9]
    assert model["normalizer"] == "nfc"
    coverage = report(tmp_path / "a")["coverage"]
    assert coverage["unknown_tokens"] == coverage["characters"] - coverage["covered_characters"] > 0


@pytest.mark.tensorflow
def test_a_program_fits_the_file_of_a_job(write_character_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    for number, options in enumerate([{}, {"min_count": 2, "max_size": 9, "normalizer": "nfkc", "specials": ["<mask>", "<cls>"]}]):
        train(write_character_config(f"{number}.yaml", options=options), tmp_path / f"{number}")
        character_fitting.fit(CHARACTERS, tmp_path / f"{number}.json", **options)
        assert (tmp_path / f"{number}.json").read_bytes() == (tmp_path / f"{number}/tokenizer.json").read_bytes()


@pytest.mark.tensorflow
def test_how_characters_are_counted_changes_nothing(write_character_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    for sample_bytes in (None, 1500):
        config = write_character_config(f"{sample_bytes}.yaml", sample_bytes=sample_bytes)
        expected = train(config, tmp_path / f"{sample_bytes}")
        threads = ["--direct_num_workers=4", "--direct_running_mode=multi_threading", "--set", "execution.block_mb=0.0005"]
        assert train(config, tmp_path / f"{sample_bytes}-threads", *threads) == expected
    model = json.loads((tmp_path / "1500/tokenizer.json").read_text())
    found = report(tmp_path / "1500")
    assert found["sample"]["bytes"] == 1500 and sum(model["counts"]) < 1500
    assert found["sources"]["docs"]["coverage"]["measured_on"] == "held_out"


@pytest.mark.tensorflow
@pytest.mark.slow  # each process imports TensorFlow
def test_characters_are_the_same_from_processes(write_character_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_character_config()
    expected = train(config, tmp_path / "reference")
    command = [sys.executable, "-m", "pipelines.train_tokenizer", config, "--output", str(tmp_path / "processes")]
    options = ["--set", "execution.block_mb=0.001", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    subprocess.run([*command, *options], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=300)
    assert tree_digest(tmp_path / "processes") == expected


@pytest.mark.tensorflow
def test_no_frequent_character_is_an_error(write_character_config: WriteConfig, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_character_config(options={"min_count": 100_000})
    assert cli.main(["train-tokenizer", config, "--direct_num_workers=1"]) == 2
    assert "no character occurs options.min_count = 100,000 times" in capsys.readouterr().err


def test_the_tokenizer_sees_what_a_build_would_train_on(
    write_tokenizer_config: WriteConfig, corpus: pathlib.Path, unigram_model: str, tmp_path: pathlib.Path
) -> None:
    """The same filters and splits leave out the same documents as in `tokenreel build`."""
    settings: dict[str, Any] = {
        "sources": [{"name": "docs", "files": [str(corpus)], "filters": {"drop_pattern": "deprecated"}}],
        "splits": {"validation": "20%"},
        "filters": {"min_characters": 40, "max_characters": 3000, "lines": {"drop_phrases": ["python"]}},
    }
    train(write_tokenizer_config(**settings, weights={}, options=CHARACTER_MODEL), tmp_path / "a")
    found = report(tmp_path / "a")["sources"]["docs"]["text"]
    packing = {"mode": "pad", "seq_len": 64}
    config = {"output": str(tmp_path / "dataset"), "vocabulary": {"path": unigram_model}, "packing": packing, **settings}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["build", str(tmp_path / "build.yaml"), "--direct_num_workers=1"]) == 0
    built = json.loads((tmp_path / "dataset/statistics.json").read_text())["splits"]
    assert found["documents"] == built["train"]["documents"] and found["bytes"] == built["train"]["bytes"]
    assert found["left_out"].pop("held_out_split") == built["validation"]["documents"] > 50
    totals = json.loads((tmp_path / "dataset/manifest.json").read_text())["totals"]
    assert found["left_out"] == totals["documents_filtered"] and len(found["left_out"]) >= 3


@pytest.mark.parametrize("path", PRESETS)
def test_presets_train(path: pathlib.Path, corpus: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert f"tokenreel train-tokenizer {path}" in path.read_text().split("output:")[0]
    overrides = ["--set", "sources.0.id_field=null"]
    overrides += ["--set", "options.vocab_size=600"] if "vocab_size" in path.read_text() else []
    train(str(path), tmp_path / "a", "--input", str(corpus), *overrides)
    found = report(tmp_path / "a")
    assert found["coverage"]["character_coverage"] > 0.999
    vocabulary = load_vocabulary(found["model"]["kind"], str(tmp_path / "a" / found["model"]["file"]))
    text = "def f(x):\n    return 2024"
    assert vocabulary.decode(vocabulary.encode(text)) == text
