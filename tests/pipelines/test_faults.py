"""What the machine, other programs and other builds do to a build: a clear line, nothing broken left, and the same bytes in the end."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tests.pipelines import soaking
from tokenreel.assembly import finishing, output, shard_writer
from tokenreel.assembly import shard_building as assembly_build_shard
from tokenreel.errors import BuildError
from tokenreel.planning import shard_plan
from tokenreel.sources.inputs import Block
from tokenreel.staging import stage_file
from tokenreel.storage import files
from tokenreel.tokenizer_training import output as tokenizer_output
from transforms.workers import orphans

WriteConfig = Callable[..., str]
Capture = pytest.CaptureFixture[str]


def test_an_output_that_is_a_file_is_refused(write_config: WriteConfig, tmp_path: pathlib.Path, capsys: Capture) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert cli.main(["build", write_config(), "--output", str(place)]) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert f"{place}: cannot write here" in line
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("change", ["new", "fail"])
def test_a_tokenizer_is_trained_on_what_the_first_listing_found(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, change: str
) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "a.jsonl").write_text('{"text": "one document of some words"}\n' * 200)
    settings: dict[str, Any] = {"sources": [{"name": "docs", "files": [str(text)]}], "execution": {}}
    settings |= {"options": {"model_type": "char", "hard_vocab_limit": False}, "output": "unused"}
    settings["execution"]["new_files"] = "fail" if change == "fail" else "leave_out"
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    command = ["train-tokenizer", str(tmp_path / "config.yaml"), "--direct_num_workers=1", "--output"]
    assert cli.main([*command, str(tmp_path / "before")]) == 0
    prepare = tokenizer_output.prepare

    def late(*arguments: Any, **more: Any) -> Any:
        (text / "b.jsonl").write_text('{"text": "another"}\n')
        return prepare(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(tokenizer_output, "prepare", late)
        assert cli.main([*command, str(tmp_path / "after")]) == (2 if change == "fail" else 0)
    message = capsys.readouterr().err
    if change == "fail":
        assert "1 file of 7,800 bytes were there when the training began, now there are 2 of 7,820" in message
        return
    assert "'docs': 1 file arrived after the training began and is left out; the others are listed as @" in message
    assert (tmp_path / ".after.docs.list").read_text() == f"{text}/a.jsonl\n"
    assert tree_digest(tmp_path / "after") == tree_digest(tmp_path / "before")


@pytest.mark.parametrize("change", ["new", "changed", "fail"])
def test_a_file_that_arrives_behind_the_first_listing_is_not_built_in_silence(
    write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, change: str
) -> None:
    """The manifest says what the first listing found; the workers list again."""
    text = tmp_path / "text"
    text.mkdir()
    (text / "a.jsonl").write_text('{"text": "one document of some words"}\n' * 200)
    execution = {"new_files": "fail"} if change == "fail" else {}
    config = write_config(sources=[{"name": "docs", "files": [str(text)]}], execution=execution)
    prepare = output.prepare
    if change == "new":
        assert cli.main(["build", config, "--direct_num_workers=1", "--output", str(tmp_path / "before")]) == 0

    def late(*arguments: Any, **more: Any) -> Any:
        (text / "b.jsonl").write_text('{"text": "another"}\n')
        if change == "changed":
            os.utime(text / "a.jsonl", (0, 0))
        return prepare(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(output, "prepare", late)
        assert cli.main(["build", config, "--direct_num_workers=1"]) == (0 if change == "new" else 2)
    message = capsys.readouterr().err
    if change == "new":
        listing = tmp_path / ".dataset.docs.list"
        assert f"'docs': 1 file arrived after the build began and is left out; the others are listed as @{listing}" in message
        assert listing.read_text() == f"{text}/a.jsonl\n"
        assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "before")
        return
    message = message.splitlines()[-1]
    assert "1 file of 7,800 bytes were there when the build began, now there are 2 of 7,820" in message
    assert not (tmp_path / "dataset" / "manifest.json").exists()


def test_permission_lost_midway_is_one_clear_line(
    write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Tests may run as root, whom no mode stops: the system call refuses in its place."""
    config, replace = write_config(), os.replace

    def refusing(source: str, target: str) -> None:
        if ".tfrecord-00002" in str(target):
            raise PermissionError(13, "Permission denied", target)
        replace(source, target)

    assert cli.main(["build", config, "--output", str(tmp_path / "reference")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refusing)
        assert cli.main(["build", config]) == 1
    assert "Permission denied" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "dataset").rglob("*.tmp-*"))
    assert not (tmp_path / "dataset" / "manifest.json").exists()
    assert cli.main(["build", config]) == 0
    assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "reference")


@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_stage_file_that_is_damaged_under_a_build_is_named(
    write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, damage: str
) -> None:
    config, plan_all = write_config(), shard_plan.plan_all
    assert cli.main(["build", config, "--output", str(tmp_path / "reference")]) == 0

    def damaging(*arguments: Any) -> Any:
        (path, *_) = sorted((tmp_path / "dataset" / ".stage").glob("*.stage"), key=lambda path: -path.stat().st_size)
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 if damage == "cut" else 0])
        return plan_all(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(shard_plan, "plan_all", damaging)
        assert cli.main(["build", config, "--direct_num_workers=1"]) == 1
    assert "Run the same command again" in capsys.readouterr().err.splitlines()[-1]
    assert cli.main(["build", config]) == 0
    assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "reference")


def test_every_flipped_bit_of_a_stage_file_is_noticed(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    cache = tmp_path / "cache"
    assert cli.main(["build", write_config(execution={"stage": str(cache)})]) == 0
    path = min(cache.glob("*.stage"), key=lambda path: path.stat().st_size)
    data = path.read_bytes()
    block = Block(0, 0, ())
    assert stage_file.reopen(str(path), block) is not None
    header = json_end(data)
    for at in [*range(0, header, 7), *range(header, len(data), max(1, len(data) // 100))]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        found = stage_file.reopen(str(path), block)
        assert found is None or (data[at : at + 1] == b"\0" and at < found.body), at  # padding behind the header may be anything
    for cut in (0, 5, 20, header, len(data) - 1):
        path.write_bytes(data[:cut])
        assert stage_file.reopen(str(path), block) is None


def json_end(data: bytes) -> int:
    return data.index(b"\0", 16)


def test_damaged_state_is_made_again(write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config()
    assert cli.main(["build", config, "--output", str(tmp_path / "reference")]) == 0

    def stop(*_: Any) -> None:
        raise BuildError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(finishing, "finish", stop)
        assert cli.main(["build", config, "--direct_num_workers=1"]) == 1
    records = sorted((tmp_path / "dataset" / ".stage").glob("*/shards/*.json"))
    for record, content in zip(records, (b"", b"{}", b"[1", b"[]", b'{"identity": 1}'), strict=False):
        record.write_bytes(content)
    assert cli.main(["build", config]) == 0
    assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "reference")


@pytest.mark.parametrize("place", ["local", "gs"])
def test_what_a_failed_build_left_is_replaced(
    write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """It failed with all shards written; the mended config has fewer, in other files, and the tokens that are the same."""
    config = write_config(shards={"examples": 100})
    mended = ["build", config, "--direct_num_workers=1", "--set", "shards.examples=500", "--set", "splits={}"]

    def stop(*_: Any) -> None:
        raise BuildError("stopped")

    with buckets.storage() if place == "gs" else contextlib.nullcontext(str(tmp_path)) as folder:
        with monkeypatch.context() as patch:
            patch.setattr(finishing, "finish", stop)
            assert cli.main(["build", config, "--direct_num_workers=1", "--output", f"{folder}/dataset"]) == 1
        left = files.list_files(f"{folder}/dataset")
        assert any("/validation." in name for name in left)
        assert cli.main([*mended, "--output", f"{folder}/dataset"]) == 0
        assert cli.main([*mended, "--output", f"{folder}/fresh"]) == 0
        found, fresh = (files.list_files(f"{folder}/{name}") for name in ("dataset", "fresh"))
        assert found == fresh and not any(name.startswith("validation.") for name in found)
        assert all(files.read_bytes(f"{folder}/dataset/{name}") == files.read_bytes(f"{folder}/fresh/{name}") for name in found)


def test_a_dataset_without_its_manifest_is_not_taken_for_a_failed_build(
    write_config: WriteConfig, tmp_path: pathlib.Path, capsys: Capture
) -> None:
    assert cli.main(["build", write_config(), "--direct_num_workers=1"]) == 0
    (tmp_path / "dataset/manifest.json").unlink()
    before = tree_digest(tmp_path / "dataset")
    assert cli.main(["build", write_config(), "--direct_num_workers=1"]) == 1
    assert "but no manifest.json: an incomplete copy perhaps. Add --overwrite" in capsys.readouterr().err
    assert tree_digest(tmp_path / "dataset") == before
    assert cli.main(["build", write_config(), "--direct_num_workers=1", "--overwrite"]) == 0


def test_two_workers_write_one_shard_at_once(write_config: WriteConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that is retried while its first attempt still runs: each writes under a name of its own, step by step with the other."""
    config, build_shard, write = write_config(), assembly_build_shard.build_shard, shard_writer.ShardWriter.write
    assert cli.main(["build", config, "--output", str(tmp_path / "reference")]) == 0
    together = threading.Barrier(2, timeout=300)

    def in_step(*arguments: Any) -> None:
        together.wait()
        write(*arguments)

    def twice(*arguments: Any) -> Any:
        results: list[Any] = []
        workers = [threading.Thread(target=lambda: results.append(build_shard(*arguments))) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(results) == 2
        assert results[0].shard == results[1].shard
        return results[0]

    with monkeypatch.context() as patch:
        patch.setattr(assembly_build_shard, "build_shard", twice)
        patch.setattr(shard_writer.ShardWriter, "write", in_step)
        assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "reference")


def test_of_two_builds_started_together_one_is_refused(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_config()
    assert soaking.join(soaking.start(["build", config, "--output", str(tmp_path / "reference")], tmp_path / "log"), 120) == 0
    logs = [tmp_path / "a", tmp_path / "b"]
    started = [soaking.start(["build", config], log) for log in logs]
    codes = [soaking.join(process, 300) for process in started]
    refused = [log.read_text() for log, code in zip(logs, codes, strict=True) if code == 1]
    assert sorted(codes) == [0, 1] or all("another job" not in log.read_text() for log in logs), "or the second began after the first"
    assert all("another job is writing here" in text for text in refused)
    assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "reference")


def test_too_many_dead_letters_are_all_listed(write_config: WriteConfig, tmp_path: pathlib.Path, capsys: Capture) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b'{"text": "good"}\n' + b"bad\n" * 5)
    assert cli.main(["build", write_config(sources=[{"files": [str(bad)]}], packing={"seq_len": 4, "last_example": "pad"}, splits={})]) == 1
    error = capsys.readouterr().err
    letters = tmp_path / "dataset" / "dead_letters" / "dead_letters.jsonl"
    assert f"All of them are in {letters}" in error
    assert "bad.jsonl line 2" in error
    assert "bad.jsonl line 4" in error
    assert len(letters.read_text().splitlines()) == 5


def test_a_job_endpoint_where_nobody_listens_is_named(write_config: WriteConfig, tmp_path: pathlib.Path, capsys: Capture) -> None:
    with socket.socket() as closed:
        closed.bind(("localhost", 0))
        endpoint = f"localhost:{closed.getsockname()[1]}"
    for given in (endpoint, "nonsense"):
        options = ["--runner=PortableRunner", f"--job_endpoint={given}", "--environment_type=LOOPBACK"]
        assert cli.main(["build", write_config(), *options]) == 2
        assert f"--job_endpoint={given}: no job service answers there" in capsys.readouterr().err
    assert not (tmp_path / "dataset").exists()


def test_a_worker_ends_with_its_build() -> None:
    assert orphans.alive(os.getpid())
    child = os.fork()
    if child == 0:
        os._exit(0)
    deadline = time.monotonic() + 120
    while orphans.alive(child):  # ended, and not yet asked for
        assert time.monotonic() < deadline
    os.waitpid(child, 0)
    assert not orphans.alive(child)


def test_a_document_too_long_is_left_out_and_named(write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path) -> None:
    source = {"files": [str(corpus)], "max_document_mb": 0.02}
    for block_mb in (0.01, 1.0):
        config = write_config(sources=[source], execution={"block_mb": block_mb, "max_dead_letter_fraction": 0.5})
        assert cli.main(["build", config, "--output", str(tmp_path / str(block_mb))]) == 0
    assert tree_digest(tmp_path / "0.01") == tree_digest(tmp_path / "1.0")
    (letter,) = (tmp_path / "1.0" / "dead_letters" / "dead_letters.jsonl").read_text().splitlines()
    assert '"giant_line.jsonl", "line": 2,' in letter
    assert '"oversized"' in letter


@pytest.fixture(autouse=True)
def _no_temporary_files_left(tmp_path: pathlib.Path) -> Iterator[None]:
    yield
    assert not [name for name in files.list_files(str(tmp_path)) if ".tmp-" in name]
