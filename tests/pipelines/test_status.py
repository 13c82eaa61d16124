"""What `tokenreel status` says of a build, whatever became of it, and that it leaves all as it is."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tokenreel.assembly import shard_building
from tokenreel.errors import BuildError
from tokenreel.storage import claims, files, locking, object_lock

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A small build: its finished `dataset`, and `stopped`, which failed when shards were to be written."""
    folder = tmp_path_factory.mktemp("status")
    (folder / "a.jsonl").write_text("".join(f'{{"text": "document {i} of {"some few " * (i % 7)}words"}}\n' for i in range(120)))
    (folder / "config.yaml").write_text("""
        output: unused
        sources: [{name: docs, files: [a.jsonl]}]
        vocabulary: {kind: bytes}
        packing: {seq_len: 64}
        shards: {examples: 40}
        execution: {block_mb: 0.004}
        """)

    def stop(*_: Any) -> None:
        raise BuildError("stopped")

    def build(name: str) -> int:
        return cli.main(["build", str(folder / "config.yaml"), "--output", str(folder / name), "--direct_num_workers=1"])

    assert build("dataset") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_building, "build_shard", stop)
        assert build("stopped") == 1
    return folder


def status(directory: object, capsys: Capture, code: int) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["status", "--json", str(directory)]) == code
    return dict(json.loads(capsys.readouterr().out))


def test_a_finished_build(folder: pathlib.Path, capsys: Capture) -> None:
    found = status(folder / "dataset", capsys, 0)
    manifest = json.loads((folder / "dataset/manifest.json").read_text())
    shards = len(list((folder / "dataset").glob("*.tfrecord-*")))
    assert (found["state"], found["step"], found["holder"]) == ("complete", None, None)
    assert found["fingerprint"] == manifest["fingerprint"] and found["shards"] == found["planned"] == shards > 1


def test_a_build_that_stopped_is_told_and_left_as_it_is(folder: pathlib.Path, capsys: Capture) -> None:
    before = tree_digest(folder / "stopped")
    found = status(folder / "stopped", capsys, 1)
    assert (found["state"], found["step"], found["holder"], found["shards"]) == ("stopped", "shards", None, 0)
    assert found["stage_files"] > 1 and "run the same command again" in found["advice"]
    assert cli.main(["status", str(folder / "stopped")]) == 1
    text = capsys.readouterr().out
    assert "stopped, writing shards" in text and "held by: nobody" in text and "last change: " in text
    assert tree_digest(folder / "stopped") == before


def test_who_holds_it(folder: pathlib.Path, capsys: Capture) -> None:
    output = str(folder / "stopped")
    with locking.lock(output) as hold:
        # Before it claims the output, its process is known from the system's table of locks alone.
        assert status(output, capsys, 0)["holder"]["who"] == f"process {os.getpid()} on this machine"
        hold.claim()
        found = status(output, capsys, 0)
    assert (found["state"], found["holder"]["alive"]) == ("running", True)
    assert found["holder"]["who"] == f"process {os.getpid()} on {socket.gethostname()}"
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    record = {**object_lock.this_process(), "pid": int(gone.stdout)}
    path = pathlib.Path(claims.path_in(output))
    for changes, state, alive in (({}, "stopped", False), ({"host": "elsewhere"}, "unclear", None), ({"job": "job-1"}, "running", True)):
        path.write_text(json.dumps({**record, **changes}))
        found = status(output, capsys, 0 if state == "running" else 1)
        assert (found["state"], found["holder"]["alive"]) == (state, alive)
    path.unlink()


def test_a_build_that_hangs(folder: pathlib.Path, capsys: Capture) -> None:
    output = folder / "stopped"
    for path in output.rglob("*"):
        os.utime(path, (1e9, 1e9))
    with locking.lock(str(output)) as hold:
        hold.claim()
        os.utime(claims.path_in(str(output)), (1e9, 1e9))
        found = status(output, capsys, 0)
    assert found["state"] == "silent" and f"look at the log of process {os.getpid()}" in found["advice"]


def test_what_is_no_build(tmp_path: pathlib.Path, folder: pathlib.Path, capsys: Capture) -> None:
    assert cli.main(["status", str(tmp_path / "nothing")]) == 2
    assert "nothing was built here" in capsys.readouterr().err
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/train.tfrecord-00000-of-00002").write_bytes(b"")
    assert status(tmp_path / "copy", capsys, 1)["state"] == "partial"
    (tmp_path / "copy/manifest.json").write_text("{")
    assert status(tmp_path / "copy", capsys, 1)["state"] == "damaged"


@pytest.fixture
def bucket() -> Iterator[str]:
    with buckets.server():
        yield f"gs://{buckets.BUCKET}/built"


def test_in_a_bucket(bucket: str, folder: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    buckets.upload(folder / "stopped", bucket)
    assert status(bucket, capsys, 1)["state"] == "stopped"
    with locking.lock(bucket):
        before = files.remote_list(bucket)
        assert status(bucket, capsys, 0)["state"] == "running"
        assert files.remote_list(bucket) == before
    # Of a machine that is gone, only the time since the last heartbeat tells.
    files.write_bytes(claims.path_in(bucket), json.dumps({"pid": 1, "host": "elsewhere", "id": "a"}).encode())
    assert status(bucket, capsys, 0)["holder"]["alive"] is True
    monkeypatch.setattr(object_lock, "STALE", -1.0)
    found = status(bucket, capsys, 1)
    assert (found["state"], found["holder"]["alive"]) == ("stopped", False)
