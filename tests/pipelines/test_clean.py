"""`tokenreel clean`: what a scheduled job may remove, and what it never does."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterator

import pytest

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tests.datasets import random_examples, write_dataset
from tokenreel.format import pointer
from tokenreel.format.manifest import read
from tokenreel.storage import files, gcs, locking

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Five dated datasets, the first of them named by a pointer, with a plan beside each; a dead build, a fresh one, and other things."""
    folder = tmp_path_factory.mktemp("dated") / "books"
    write_dataset(folder / "one", {"train": random_examples(8, 16)})
    for day in range(1, 6):
        shutil.copytree(folder / "one", folder / f"2026-11-0{day}-aaaaaaaa")
        (folder / f"2026-11-0{day}-aaaaaaaa.plan.yaml").write_text("plan")
        (folder / f".2026-11-0{day}-aaaaaaaa.inputs.jsonl").write_text("inputs")
    first = folder / "2026-11-01-aaaaaaaa"
    pointer.move(str(folder / "latest.json"), pointer.Target(str(first), read(str(first)).fingerprint, "2026-11-01T00:00:00Z"))
    for name in ("2026-11-06-dddddddd", "2026-11-07-eeeeeeee"):
        (folder / name / ".stage").mkdir(parents=True)
        (folder / name / ".stage/build.json").write_text("{}")
    (folder / "2026-11-05-aaaaaaaa/.stage").mkdir()
    (folder / "2026-11-05-aaaaaaaa/.stage/left.stage").write_bytes(b"tokens")
    shutil.copytree(folder / "one", folder / "2026-11-08-notours1")
    (folder / "notes.json").write_text('{"mine": 1}')
    shutil.copytree(folder / "one", folder / "2026-10-01-ffffffff")
    (folder / "2026-10-01-ffffffff/thesis.txt").write_text("mine")
    return folder


@pytest.fixture
def root(made: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    root = pathlib.Path(shutil.copytree(made, tmp_path / "books"))
    dead = root / "2026-11-06-dddddddd"
    for path in (dead / ".stage/build.json", dead / ".stage", dead):
        os.utime(path, (1e9, 1e9))
    return root


GONE = {"2026-11-02-aaaaaaaa", "2026-11-03-aaaaaaaa", "2026-11-06-dddddddd"}


def folders(root: pathlib.Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir()}


def test_what_goes_and_what_stays(root: pathlib.Path, capsys: Capture) -> None:
    before, digest = folders(root), tree_digest(root)
    assert cli.main(["clean", str(root), "--keep", "2", "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert tree_digest(root) == digest, "a dry run removes nothing"
    assert cli.main(["clean", str(root), "--keep", "2"]) == 0
    assert capsys.readouterr().out == planned.replace("would remove", "removed")
    assert before - folders(root) == GONE
    assert not (root / "2026-11-05-aaaaaaaa/.stage").exists()
    left = {path.name for path in root.iterdir() if path.is_file()}
    assert left == {"latest.json", "notes.json"} | {
        name.format(day) for day in (1, 4, 5) for name in ("2026-11-0{}-aaaaaaaa.plan.yaml", ".2026-11-0{}-aaaaaaaa.inputs.jsonl")
    }
    for line in (
        "kept 2026-11-01-aaaaaaaa: named by ",
        "kept 2026-11-07-eeeeeeee: stopped, but it changed 0.0 hours ago",
        "kept 2026-10-01-ffffffff: holds thesis.txt, which no build writes",
        "removed 2026-11-05-aaaaaaaa .stage/ (6 B): it is finished",
    ):
        assert line in planned.replace("would remove", "removed")
    assert "notours1" not in planned
    after = tree_digest(root)
    assert cli.main(["clean", str(root), "--keep", "2"]) == 0
    assert tree_digest(root) == after


def test_what_a_pointer_elsewhere_names_stays(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    second = root / "2026-11-02-aaaaaaaa"
    pointer.move(str(tmp_path / "trusted.json"), pointer.Target(str(second), read(str(second)).fingerprint, "2026-11-02T00:00:00Z"))
    assert cli.main(["clean", str(root), "--keep", "1", "--pointer", str(tmp_path / "trusted.json")]) == 0
    assert {"2026-11-01-aaaaaaaa", "2026-11-02-aaaaaaaa", "2026-11-05-aaaaaaaa"} <= folders(root)
    assert "2026-11-04-aaaaaaaa" not in folders(root)


def test_what_is_being_built_stays(root: pathlib.Path, capsys: Capture) -> None:
    with locking.lock(str(root / "2026-11-06-dddddddd")) as hold:
        hold.claim()
        for path in (root / "2026-11-06-dddddddd").rglob("*"):
            os.utime(path, (1e9, 1e9))
        assert cli.main(["clean", str(root), "--keep", "2"]) == 0
    assert f"process {os.getpid()}" in capsys.readouterr().out
    assert "2026-11-06-dddddddd" in folders(root)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--keep", "0"], "keep at least 1"),
        (["--keep", "2", "--pointer", "missing.json"], "missing.json: no such file"),
        (["--keep", "2", "--dead-after", "soon"], "write a number and h, d or w"),
    ],
)
def test_mistakes_remove_nothing(root: pathlib.Path, arguments: list[str], says: str, capsys: Capture) -> None:
    before = tree_digest(root)
    assert cli.main(["clean", str(root), *arguments]) == 2
    assert says in capsys.readouterr().err and tree_digest(root) == before


def test_a_damaged_pointer_stops_it(root: pathlib.Path, capsys: Capture) -> None:
    (root / "latest.json").write_text((root / "latest.json").read_text()[:-20])
    before = tree_digest(root)
    assert cli.main(["clean", str(root), "--keep", "1"]) == 2
    assert "no pointer to a dataset" in capsys.readouterr().err and tree_digest(root) == before


def test_in_a_bucket(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that lies there is listed once, however many outputs go."""
    listed: list[str] = []

    def list_objects(bucket: str, prefix: str, *, below: bool = True) -> Iterator[gcs.Object]:
        if below:
            listed.append(prefix)
        return original(bucket, prefix, below=below)

    original = gcs.list_objects
    monkeypatch.setattr(gcs, "list_objects", list_objects)
    with buckets.server():
        remote = f"gs://{buckets.BUCKET}/books"
        buckets.upload(root, remote)
        listed.clear()
        assert cli.main(["clean", remote, "--keep", "2", "--dead-after", "0h"]) == 0
        assert listed.count("books/") == 1
        left = {name.partition("/")[0] for name in files.list_files(remote) if "/" in name}
    assert folders(root) - left == {*GONE, "2026-11-07-eeeeeeee"}
