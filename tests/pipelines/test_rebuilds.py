"""The same command, run again over whatever lies in its output: what is sound is kept, and what is damaged is made again."""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from pipelines import cli
from tests.conftest import tree_digest
from tokenreel.assembly import finishing, shard_writer
from tokenreel.errors import BuildError
from tokenreel.storage import files, sealed

WriteConfig = Callable[..., str]
Capture = pytest.CaptureFixture[str]


def build(config: str, output: pathlib.Path, *arguments: str) -> int:
    return cli.main(["build", config, "--output", str(output), "--direct_num_workers=1", *arguments])


def stop(*_: Any) -> None:
    raise BuildError("stopped")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A small build of bytes: `config.yaml`, its finished `dataset`, and `unfinished`, as it lay there when all shards were written."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "text").mkdir()
    for name in "ab":
        lines = [f'{{"text": "{name} document {i} of {"some few " * (i % 7)}words"}}\n' for i in range(120)]
        (folder / "text" / f"{name}.jsonl").write_text("".join(lines) + "bad\n")
    config = """
        output: unused
        sources: [{name: docs, files: [text]}]
        vocabulary: {kind: bytes}
        splits: {validation: 20%}
        packing: {seq_len: 64}
        shards: {examples: 40}
        order: {group_tokens: 3000}
        execution: {block_mb: 0.004}
        """
    (folder / "config.yaml").write_text(config)
    finish = finishing.finish

    def copied_before(*arguments: Any) -> Any:
        shutil.copytree(folder / "dataset", folder / "unfinished")
        return finish(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finishing, "finish", copied_before)
        assert build(str(folder / "config.yaml"), folder / "dataset") == 0
    return folder


@pytest.fixture(scope="module")
def shorter(made: pathlib.Path) -> dict[str, str]:
    """What `packing.seq_len=32` makes of the same text."""
    assert build(str(made / "config.yaml"), made / "shorter", "--set", "packing.seq_len=32") == 0
    return tree_digest(made / "shorter")


@pytest.fixture
def unfinished(made: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(made / "unfinished", tmp_path / "unfinished"))


@pytest.fixture
def dataset(made: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(made / "dataset", tmp_path / "dataset"))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The records of each shard that a build writes, in place of keeping it."""
    counts: list[int] = []
    write = shard_writer.ShardWriter.write

    def counted(self: Any, *arguments: Any) -> None:
        counts.append(1)
        write(self, *arguments)

    monkeypatch.setattr(shard_writer.ShardWriter, "write", counted)
    return counts


def damage(path: pathlib.Path, how: str, seed: int = 0) -> None:
    """Damages a file as disks, crashes and people do."""
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return
    if how == "flipped":
        at = random.Random(seed).randrange(len(data))
        data[at] ^= 1 << seed % 8
    elif how == "zeros":
        data[:] = bytes(len(data))
    else:
        del data[{"empty": 0, "cut": len(data) // 2}[how] :]
    path.write_bytes(data)


DAMAGES = ("gone", "flipped", "zeros", "empty", "cut")


# Damaged state


@pytest.mark.parametrize("how", ["gone", "flipped"])
def test_a_damaged_state_of_a_build_costs_nothing(
    made: pathlib.Path, unfinished: pathlib.Path, written: list[int], how: str, capsys: Capture
) -> None:
    damage(unfinished / ".stage/build.json", how, seed=3)
    assert build(str(made / "config.yaml"), unfinished) == 0
    shown = capsys.readouterr().err
    assert "the state of the build that began there is damaged and made again" in shown
    assert "0 were tokenized" in shown and not written, "what was done is kept"
    assert tree_digest(unfinished) == tree_digest(made / "dataset")


def test_damaged_records_of_shards_are_made_again(made: pathlib.Path, unfinished: pathlib.Path, written: list[int]) -> None:
    """A field that was lost was a KeyError; a flipped digit went into the statistics."""
    *others, kept = sorted(unfinished.glob(".stage/*/shards/*.json"))
    for seed, (record, how) in enumerate(zip(others, DAMAGES, strict=True)):
        damage(record, how, seed)
    without = sealed.read(str(kept))
    assert without is not None
    del without["shard"]
    kept.write_bytes(json.dumps(without).encode())
    assert build(str(made / "config.yaml"), unfinished) == 0
    assert len(written) == len(others) + 1
    assert tree_digest(unfinished) == tree_digest(made / "dataset")


def test_what_another_build_left_under_a_damaged_state_is_cleared_away(made: pathlib.Path, unfinished: pathlib.Path) -> None:
    damage(unfinished / ".stage/build.json", "cut")
    (unfinished / "dead_letters/old.jsonl").write_text("{}")
    shutil.copy(made / "dataset/train.tfrecord-00000-of-00004", unfinished / "train.tfrecord-00000-of-00007")
    assert build(str(made / "config.yaml"), unfinished) == 0
    assert tree_digest(unfinished) == tree_digest(made / "dataset")


# Finished datasets


def test_what_a_finished_dataset_lost_is_made_again(made: pathlib.Path, dataset: pathlib.Path, capsys: Capture) -> None:
    lost = {"train.tfrecord-00001-of-00004": "gone", "statistics.json": "empty", "dead_letters/dead_letters.jsonl": "cut"}
    for name, how in lost.items():
        damage(dataset / name, how)
        assert build(str(made / "config.yaml"), dataset) == 0
        assert f"{name}: missing, or not what the manifest says; the dataset is made again" in capsys.readouterr().err
        assert tree_digest(dataset) == tree_digest(made / "dataset")
    assert build(str(made / "config.yaml"), dataset) == 0
    assert "is complete already" in capsys.readouterr().err


def test_contents_of_a_finished_dataset_are_looked_at_on_request(made: pathlib.Path, dataset: pathlib.Path, capsys: Capture) -> None:
    config = str(made / "config.yaml")
    damage(dataset / "train.tfrecord-00001-of-00004", "flipped")
    assert build(config, dataset) == 0
    assert "is complete already" in capsys.readouterr().err, "only sizes are looked at"
    assert build(config, dataset, "--recheck") == 0
    assert "train.tfrecord-00001-of-00004: missing, or not what the manifest says" in capsys.readouterr().err
    assert tree_digest(dataset) == tree_digest(made / "dataset")
    assert build(config, dataset, "--recheck") == 0
    assert "is complete already" in capsys.readouterr().err


def test_a_damaged_manifest_of_a_build_that_was_killed_is_made_again(
    made: pathlib.Path, dataset: pathlib.Path, unfinished: pathlib.Path
) -> None:
    shutil.copytree(unfinished / ".stage", dataset / ".stage")  # killed between its manifest and clearing this away
    damage(dataset / "manifest.json", "flipped")
    assert build(str(made / "config.yaml"), dataset) == 0
    assert tree_digest(dataset) == tree_digest(made / "dataset")


def test_a_rebuild_that_is_stopped_loses_nothing(
    made: pathlib.Path, dataset: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    damage(dataset / "train.tfrecord-00001-of-00004", "cut")
    with monkeypatch.context() as patch:
        patch.setattr(files, "remove", stop)  # before the manifest goes
        assert build(str(made / "config.yaml"), dataset) == 1
    assert (dataset / "manifest.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "finish", stop)
        assert build(str(made / "config.yaml"), dataset) == 1
    assert not (dataset / "manifest.json").exists(), "what is incomplete has no manifest"
    assert build(str(made / "config.yaml"), dataset) == 0
    assert tree_digest(dataset) == tree_digest(made / "dataset")


# --overwrite


def test_overwrite_keeps_what_was_done_since(
    made: pathlib.Path,
    shorter: dict[str, str],
    dataset: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    written: list[int],
    capsys: Capture,
) -> None:
    other = [str(made / "config.yaml"), dataset, "--overwrite", "--set", "packing.seq_len=32"]
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "finish", stop)
        assert build(*other) == 1
    assert written and not (dataset / "manifest.json").exists()
    written.clear()
    capsys.readouterr()
    assert build(*other) == 0
    assert "0 were tokenized" in capsys.readouterr().err and not written
    assert tree_digest(dataset) == shorter
    assert build(*other) == 0
    assert written, "what is finished is overwritten"


def test_overwrite_takes_nothing_for_its_own_that_another_build_left(
    made: pathlib.Path, shorter: dict[str, str], unfinished: pathlib.Path, capsys: Capture
) -> None:
    other = [str(made / "config.yaml"), unfinished, "--overwrite", "--set", "packing.seq_len=32"]
    (unfinished / "notes.txt").write_text("mine")
    before = tree_digest(unfinished)
    assert build(*other) == 1
    assert "holds 1 file that no build writes, such as notes.txt" in capsys.readouterr().err
    assert tree_digest(unfinished) == before, "nothing is removed by a command that is refused"
    (unfinished / "notes.txt").unlink()
    assert build(*other) == 0
    assert tree_digest(unfinished) == shorter


# Links


@pytest.mark.parametrize("name", [".stage", ".stage/shards", "provenance", "dead_letters"])
def test_links_inside_an_output_are_refused(
    made: pathlib.Path, unfinished: pathlib.Path, tmp_path: pathlib.Path, name: str, capsys: Capture
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if (unfinished / name).exists():
        shutil.move(unfinished / name, elsewhere)
    else:
        elsewhere.mkdir()
    (elsewhere / "precious.stage").write_text("mine")
    os.symlink(elsewhere, unfinished / name)
    before = tree_digest(elsewhere)
    for arguments in ([], ["--overwrite"]):
        assert build(str(made / "config.yaml"), unfinished, *arguments) == 1
        assert f"{unfinished / name}: a symbolic link, where a build writes and removes files" in capsys.readouterr().err
    assert tree_digest(elsewhere) == before


def test_links_to_an_output_and_a_stage_directory_are_followed_once_and_said(
    made: pathlib.Path, tmp_path: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("disk", "tokens"):
        (tmp_path / name).mkdir()
        os.symlink(tmp_path / name, tmp_path / f"{name}.link")
    finish = finishing.finish

    def moved(*arguments: Any) -> Any:
        for name in ("disk", "tokens"):
            (tmp_path / f"{name}.link").unlink()
            os.symlink(tmp_path, tmp_path / f"{name}.link")
        return finish(*arguments)

    monkeypatch.setattr(finishing, "finish", moved)
    assert build(str(made / "config.yaml"), tmp_path / "disk.link", "--set", f"execution.stage={tmp_path / 'tokens.link'}") == 0
    shown = capsys.readouterr().err
    assert f"note: output: {tmp_path / 'disk.link'} is a symbolic link; the files are in {tmp_path / 'disk'}" in shown
    assert f"note: execution.stage: {tmp_path / 'tokens.link'} is a symbolic link; the files are in {tmp_path / 'tokens'}" in shown
    assert tree_digest(tmp_path / "disk") == tree_digest(made / "dataset")
    assert list((tmp_path / "tokens").glob("*.stage"))
