"""Lock files: pins that are kept, whoever writes beside them."""

from __future__ import annotations

import concurrent.futures
import pathlib

import pytest

from tokenreel.errors import ShelfError
from tokenreel.shelf import lock_file

DIGEST = "sha256:" + "0" * 64


def test_no_pin_is_lost(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "shelf.lock")
    assert lock_file.read(path) == {}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: lock_file.pin(path, f"model/m{number}@latest", DIGEST), range(12)))
    assert lock_file.read(path) == {f"model/m{number}@latest": DIGEST for number in range(12)}
    before = pathlib.Path(path).read_bytes()
    lock_file.pin(path, "model/m3@latest", DIGEST)
    assert pathlib.Path(path).read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"format": "tokenreel.shelf-lock/1"}', b'{"format": "tokenreel.shelf-lock/2", "items": {}}', b"[" * 100_000]
    + [b'{"format": "tokenreel.shelf-lock/1", "items": {"a/b@c": "%s"}}' % digest for digest in (b"../../x", b"sha256:00")],
)
def test_what_is_no_lock_file_is_refused_and_stays(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "shelf.lock"
    path.write_bytes(content)
    with pytest.raises(ShelfError, match=r"shelf\.lock: (no lock file|a lock file of format)"):
        lock_file.read(str(path))
    with pytest.raises(ShelfError):
        lock_file.pin(str(path), "model/m@latest", DIGEST)
    assert path.read_bytes() == content
