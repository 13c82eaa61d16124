"""Changes to a small file that others change, on a disk and in a bucket."""

from __future__ import annotations

import concurrent.futures
import pathlib

import pytest

from tests import buckets
from tokenreel.errors import BuildError
from tokenreel.storage import files, gcs, replacing

REMOTE = f"gs://{buckets.BUCKET}"


@pytest.mark.parametrize("place", ["local", "bucket"])
def test_no_change_is_lost(place: str, tmp_path: pathlib.Path, server: buckets.Server) -> None:
    path = files.join(str(tmp_path) if place == "local" else REMOTE, "state/count.json")

    def add(number: int) -> None:
        replacing.replace(path, lambda data: (data or b"") + b"%02d " % number)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    written = files.read_bytes(path)
    assert sorted(written.split()) == [b"%02d" % number for number in range(12)]
    replacing.replace(path, lambda data: None)
    assert files.read_bytes(path) == written


def test_an_object_that_changes_meanwhile_is_read_again(server: buckets.Server) -> None:
    path = files.join(REMOTE, "latest.json")
    seen: list[bytes | None] = []

    def change(data: bytes | None) -> bytes:
        seen.append(data)
        if len(seen) < 3:
            gcs.put(path, b"other %d" % len(seen), 0 if len(seen) == 1 else gcs.stat(path).generation)  # type: ignore[union-attr]
        return b"ours"

    replacing.replace(path, change)
    assert seen == [None, b"other 1", b"other 2"] and files.read_bytes(path) == b"ours"


def test_it_gives_up(server: buckets.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "put", lambda *_: None)
    with pytest.raises(BuildError, match=r"latest\.json: other processes keep changing it"):
        replacing.replace(files.join(REMOTE, "latest.json"), lambda data: b"ours")
