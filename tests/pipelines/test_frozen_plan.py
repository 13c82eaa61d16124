"""A config that is frozen for a date builds what it listed first, and lies where its date and settings say."""

from __future__ import annotations

import json
import pathlib

import pytest

from pipelines import cli
from tests import buckets

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    (tmp_path / "text").mkdir()
    add(tmp_path, "a")
    (tmp_path / "config.yaml").write_text("""
        output: unused
        sources: [{name: docs, files: ["text/*.jsonl"]}]
        vocabulary: {kind: bytes}
        packing: {seq_len: 64}
        """)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(folder: pathlib.Path, name: str) -> None:
    lines = [f'{{"text": "{name} document {i} of {"some few " * (i % 7)}words"}}\n' for i in range(40)]
    (folder / "text" / f"{name}.jsonl").write_text("".join(lines))


def plan(capsys: Capture, *arguments: str, date: str = "2026-11-29", directory: str = "books") -> dict[str, object]:
    capsys.readouterr()
    assert cli.main(["plan", "config.yaml", "--json", "--freeze", directory, "--date", date, *arguments]) == 0
    return dict(json.loads(capsys.readouterr().out))


def told(plan: dict[str, object]) -> dict[str, object]:
    """What a plan says, without the times that were measured."""
    return {name: plan[name] for name in ("sources", "splits", "config", "output")}


def test_the_files_of_a_date_stay(folder: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    first = plan(capsys)
    add(folder, "b")
    assert told(plan(capsys)) == told(first)
    assert first["sources"]["docs"]["files"] == 1  # type: ignore[index]
    assert plan(capsys, date="2026-11-30T06:30:00+00:00")["sources"]["docs"]["files"] == 2  # type: ignore[index]
    names = sorted(path.name for path in (folder / "books").iterdir())
    fingerprint = names[0][16:28]
    assert [name.replace(fingerprint, "F") for name in names] == [
        f"{date}-F.{kind}" for date in ("2026-11-29T0000", "2026-11-30T0630") for kind in ("0.list", "plan.yaml")
    ]
    assert first["output"] == f"{folder}/books/2026-11-29T0000-{fingerprint}"
    assert plan(capsys, "--set", "packing.seq_len=32")["output"] != first["output"]
    assert plan(capsys, "--set", "execution.block_mb=1")["output"] == first["output"]
    # From another directory: what is frozen means the same there.
    monkeypatch.chdir("/")
    assert cli.main(["build", str(folder / str(first["config"])), "--output", str(folder / "built"), "--direct_num_workers=1"]) == 0
    assert json.loads((folder / "built/manifest.json").read_text())["totals"]["inputs"]["docs"]["files"] == 1


def test_both_go_together(folder: pathlib.Path, capsys: Capture) -> None:
    assert cli.main(["plan", "config.yaml", "--freeze", "books"]) == 2
    assert "--freeze and --date go together" in capsys.readouterr().err
    assert cli.main(["plan", "config.yaml", "--freeze", "books", "--date", "soon"]) == 2
    assert not (folder / "books").exists()


def test_in_a_bucket(folder: pathlib.Path, capsys: Capture) -> None:
    with buckets.server():
        directory = f"gs://{buckets.BUCKET}/books"
        first = plan(capsys, directory=directory)
        assert str(first["config"]).startswith(f"{directory}/2026-11-29T0000-")
        add(folder, "b")
        assert told(plan(capsys, directory=directory)) == told(first)
