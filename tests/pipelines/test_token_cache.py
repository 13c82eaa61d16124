"""Tokenized once, used by many builds, and never mistaken for the tokens of anything else."""

from __future__ import annotations

import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import cli
from tests import buckets
from tests.conftest import train_model, tree_digest
from tokenreel.config import reading
from tokenreel.config.build import JobConfig, VocabularyConfig
from tokenreel.config.corpus import ExecutionConfig, SourceConfig
from tokenreel.errors import ConfigError
from tokenreel.staging import token_cache
from tokenreel.storage import files, gcs

WriteConfig = Callable[..., str]


@pytest.fixture(params=[pytest.param("local", marks=pytest.mark.slow), "remote"])
def stage(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "stage")
        return
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.01)
    with buckets.storage() as address:
        yield f"{address}/stage"


@pytest.fixture
def text(corpus: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the corpus that a test may change."""
    directory = tmp_path / "text"
    shutil.copytree(corpus, directory)
    return directory


def settings(text: pathlib.Path, stage: str, **more: Any) -> dict[str, Any]:
    return {"sources": [{"name": "docs", "files": [str(text)]}], "execution": {"stage": stage, "block_mb": 0.05}, **more}


def build(config: str, output: pathlib.Path, *arguments: str) -> dict[str, str]:
    assert cli.main(["build", config, "--output", str(output), "--direct_num_workers=1", *arguments]) == 0
    return tree_digest(output)


def load(path: str) -> JobConfig:
    return reading.load(pathlib.Path(path).read_text(), name=path)


def hits(config: str, stage: str) -> tuple[int, int]:
    """Blocks that a build would find, and all."""
    (use,) = token_cache.uses(load(config), token_cache.read(stage)[0])
    return use.hits, use.blocks


def test_other_datasets_take_their_tokens_from_the_cache(
    stage: str, text: pathlib.Path, write_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(**settings(text, stage))
    build(config, tmp_path / "first")
    assert "0 of 7 blocks came from the token cache, 7 were tokenized" in capsys.readouterr().err
    other = settings(text, stage, packing={"mode": "best_fit", "seq_len": 32}, seed=8, splits={}, order={"mode": "source"})
    found = build(write_config("other.yaml", **other), tmp_path / "second")
    assert "7 of 7 blocks came from the token cache, 0 were tokenized" in capsys.readouterr().err
    other["execution"] = {"block_mb": 0.05}
    assert found == build(write_config("other.yaml", **other), tmp_path / "third")


def test_what_a_config_would_find_is_told_before_anything_is_spent(
    stage: str, text: pathlib.Path, write_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(**settings(text, stage))
    assert cli.main(["cache", "list", stage, "--config", config]) == 0
    assert "docs: 0 of 7 blocks are here; 0.2 MB of 0.2 MB of files would be tokenized" in capsys.readouterr().out
    build(config, tmp_path / "dataset")
    files.write_bytes(files.join(stage, "notes.txt"), b"mine")
    capsys.readouterr()
    assert cli.main(["cache", "list", stage, "--config", config]) == 0
    shown = capsys.readouterr().out
    assert "docs  vocabulary sentencepiece " in shown and "7 blocks, 701 documents, " in shown
    assert "docs: 7 of 7 blocks are here; 0.0 MB of" in shown
    assert "1 other file, " in shown
    first = min(entry.path for entry in token_cache.read(stage)[0])
    files.remove(first)
    assert hits(config, stage) == (6, 7)
    build(config, tmp_path / "again")
    assert "6 of 7 blocks came from the token cache" in capsys.readouterr().err
    assert tree_digest(tmp_path / "again") == tree_digest(tmp_path / "dataset")


def test_no_change_of_text_filter_or_vocabulary_is_mistaken(
    texts: list[str], text: pathlib.Path, write_config: WriteConfig, tmp_path: pathlib.Path
) -> None:
    stage = str(tmp_path / "stage")
    plain = settings(text, stage)
    config = write_config(**plain)
    build(config, tmp_path / "dataset")
    blocks = hits(config, stage)[1]
    assert hits(config, stage) == (blocks, blocks)
    source = plain["sources"][0]
    changed: dict[str, dict[str, Any]] = {
        "filter": {"filters": {"min_characters": 3}},
        "filter of a source": {"sources": [{**source, "filters": {"max_tokens": 9999}}]},
        "field": {"sources": [{**source, "metadata_fields": ["number"]}]},
        "id": {"sources": [{**source, "id_field": "number"}]},
        "name": {"sources": [{**source, "name": "other"}]},
        "block size": {"execution": {"stage": stage, "block_mb": 0.04}},
        "sentences": {"packing": {"mode": "full_sentences", "seq_len": 64, "sentences": "rules"}},
        "duplicates": {"duplicates": {"remove": "documents"}},
        "vocabulary kind": {"vocabulary": {"kind": "bytes"}},
    }
    directory = tmp_path / "model"
    directory.mkdir()
    changed["vocabulary"] = {"vocabulary": {"path": train_model(texts[:900], directory)}}
    for what, change in changed.items():
        assert hits(write_config("changed.yaml", **{**plain, **change}), stage)[0] == 0, what
    # The same bytes of a vocabulary under another path are the same vocabulary.
    model = shutil.copy(yaml.safe_load(pathlib.Path(config).read_text())["vocabulary"]["path"], tmp_path / "copy.model")
    assert hits(write_config("changed.yaml", **plain, vocabulary={"path": str(model)}), stage) == (blocks, blocks)

    victim = text / "crlf.jsonl"
    before = os.stat(victim)
    data = victim.read_bytes()
    assert data.count(b" the ") > 3
    victim.write_bytes(data.replace(b" the ", b" a "))
    assert hits(config, stage)[0] < blocks, "another size"
    victim.write_bytes(data.replace(b" the ", b" xqz "))
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(victim).st_size == before.st_size and os.stat(victim).st_mtime_ns == before.st_mtime_ns
    assert hits(config, stage)[0] < blocks, "same size and date, other bytes"
    os.unlink(victim)
    victim.write_bytes(data)
    found = build(config, tmp_path / "again")
    assert found == tree_digest(tmp_path / "dataset")


def test_objects_are_known_by_their_generation(
    text: pathlib.Path, write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.01)
    with buckets.storage() as address:
        buckets.upload(text, f"{address}/text")
        stage = str(tmp_path / "stage")
        config = write_config(**settings(text, stage, sources=[{"name": "docs", "files": [f"{address}/text"]}]))
        build(config, tmp_path / "dataset")
        blocks = hits(config, stage)[1]
        assert hits(config, stage) == (blocks, blocks)
        data = files.read_bytes(f"{address}/text/crlf.jsonl")
        files.write_bytes(f"{address}/text/crlf.jsonl", data.replace(b" the ", b" xqz "))
        assert hits(config, stage)[0] < blocks


def names(stage: str) -> set[str]:
    return set(files.list_files(stage))


def test_cleaning_removes_what_was_asked_for_and_nothing_else(
    stage: str, text: pathlib.Path, write_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write_config("one.yaml", **settings(text, stage))
    two = write_config("two.yaml", **settings(text, stage, filters={"min_characters": 40}))
    build(one, tmp_path / "one")
    first = names(stage)
    build(two, tmp_path / "two")
    second = names(stage) - first
    foreign = {"notes.txt", "0123.stage", f"{'0' * 32}-00000.stage.bak", "deep/x.stage"}
    for name in foreign:
        files.write_bytes(files.join(stage, name), b"mine")
    everything = names(stage)

    def clean(*arguments: str) -> set[str]:
        """The names that go."""
        before = names(stage)
        capsys.readouterr()
        assert cli.main(["cache", "clean", stage, *arguments, "--dry-run"]) == 0
        told = set(capsys.readouterr().out.splitlines()[:-1])
        assert names(stage) == before, "a dry run removed something"
        assert cli.main(["cache", "clean", stage, *arguments]) == 0
        gone = before - names(stage)
        assert gone == told
        return gone

    assert clean() == set()
    assert clean("--older-than", "1h") == set()
    assert clean("--vocabulary", "zz") == set()
    assert clean("--source", "nobody") == set()
    assert clean("--unused-by", one, two) == set()
    assert clean("--unused-by", one, "--older-than", "1h") == set()
    assert clean("--unused-by", one) == second
    assert hits(one, stage)[0] == hits(one, stage)[1] and hits(two, stage)[0] == 0
    vocabulary = token_cache.read(stage)[0][0].about["vocabulary"]
    assert clean("--vocabulary", vocabulary[:6], "--source", "docs") == first
    assert names(stage) == foreign
    build(one, tmp_path / "three")
    assert names(stage) - foreign == first
    assert clean("--all") == first
    assert everything == first | second | foreign


def test_unfinished_and_damaged_files_are_recognised(
    text: pathlib.Path, write_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = tmp_path / "stage"
    config = write_config(**settings(text, str(stage)))
    build(config, tmp_path / "dataset")
    sound = sorted(stage.iterdir())
    fresh, abandoned = (stage / f"{'a' * 32}-00000.stage.tmp-{digits}" for digits in ("01", "02"))
    for path in (fresh, abandoned):
        path.write_bytes(b"half")
    long_ago = time.time() - 3600
    os.utime(abandoned, (long_ago, long_ago))
    sound[0].write_bytes(sound[0].read_bytes()[:-100])  # cut short
    sound[1].write_bytes(b"nothing of ours")
    sound[2].write_bytes(sound[2].read_bytes().replace(b'"version": "stage-', b'"version": "stagf-', 1))
    for path in sound[3:5]:
        os.utime(path, (time.time() - 40 * 86_400,) * 2)
    capsys.readouterr()
    assert cli.main(["cache", "list", str(stage)]) == 0
    shown = capsys.readouterr().out
    assert "unfinished writes: 2 files" in shown and "damaged or of another version: 3 files" in shown
    assert hits(config, str(stage)) == (4, 7)
    assert cli.main(["cache", "clean", str(stage)]) == 0
    assert set(stage.iterdir()) == {fresh, *sound[3:]}
    assert cli.main(["cache", "clean", str(stage), "--older-than", "30d"]) == 0
    assert set(stage.iterdir()) == {fresh, *sound[5:]}
    for path in sound[5:]:
        os.utime(path, (time.time() - 40 * 86_400,) * 2)
    build(config, tmp_path / "again")  # uses them, so they are young again
    assert cli.main(["cache", "clean", str(stage), "--older-than", "30d"]) == 0
    assert len(list(stage.iterdir())) == 8
    assert fresh.exists(), "a write that may be going on was disturbed"


@pytest.mark.parametrize("age", ["30", "d", "-3d", "3y", ""])
def test_ages_are_checked(tmp_path: pathlib.Path, age: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "clean", str(tmp_path), f"--older-than={age}"]) == 2
    assert "for example 30d" in capsys.readouterr().err


def test_drawn_tokens_are_found_under_their_seed(text: pathlib.Path, write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    stage = str(tmp_path / "stage")
    model = yaml.safe_load(pathlib.Path(write_config()).read_text())["vocabulary"]["path"]
    common = settings(text, stage, vocabulary={"path": model, "sampling": {"alpha": 0.5}})
    config = write_config(**common)
    build(config, tmp_path / "dataset")
    assert hits(config, stage) == (7, 7)
    assert hits(write_config("other.yaml", **common, seed=8), stage) == (0, 7)
    assert token_cache.choose(token_cache.read(stage)[0], unused_by=[load(config)]) == []


def test_what_depends_on_the_whole_corpus_is_not_guessed(text: pathlib.Path, write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = load(write_config(**settings(text, str(tmp_path / "stage"), duplicates={"remove": "lines"})))
    with pytest.raises(ConfigError, match=r"duplicates\.remove: lines decides while the build runs"):
        token_cache.choose([], unused_by=[config])


def test_what_is_missing_of_a_table_is_told_in_bytes(tmp_path: pathlib.Path) -> None:
    """A range of a Parquet file counts row groups."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {i} " * 20 for i in range(1000)]}), path, row_group_size=50)
    (tmp_path / "b.txt").write_bytes(b"a line\n" * 5000)
    vocabulary, execution = VocabularyConfig(kind="bytes"), ExecutionConfig(block_mb=0.02)
    sources = (
        SourceConfig(name="table", files=(str(path),), format="parquet"),
        SourceConfig(name="lines", files=(str(tmp_path / "b.txt"),), format="lines"),
    )
    config = JobConfig(output=str(tmp_path / "out"), sources=sources, vocabulary=vocabulary, execution=execution)
    for use, file in zip(token_cache.uses(config, []), (path, tmp_path / "b.txt"), strict=True):
        assert use.blocks > 1 and use.hits == 0
        assert use.bytes == use.missing_bytes == file.stat().st_size


@pytest.mark.parametrize("action", ["list", "clean"])
def test_a_directory_that_is_not_there_is_a_mistake(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    """It was `total: 0 blocks`, with exit code 0; a missing bucket had the code 1."""
    (tmp_path / "file").write_text("mine")
    with buckets.storage() as bucket:
        for place in (tmp_path / "nope", tmp_path / "file", f"{bucket}/nope", "gs://nope/stage"):
            assert cli.main(["cache", action, str(place)]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert "no such directory" in line or "there is no bucket nope" in line
    (tmp_path / "empty").mkdir()
    assert cli.main(["cache", action, str(tmp_path / "empty")]) == 0
