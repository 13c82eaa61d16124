"""The folder of unpacked bundles: each whole or not there, whatever dies or races."""

from __future__ import annotations

import concurrent.futures
import io
import os
import pathlib
import signal
import time

import pytest

from tests.tokenreel.shelf.test_bundle import packed, write
from tokenreel.shelf import bundle, unpacked

CONTENTS = {"a.txt": b"first", "b/c.txt": b"second" * 1000}


@pytest.fixture
def archive(tmp_path: pathlib.Path) -> tuple[str, bytes]:
    found, data = packed(write(tmp_path / "in", CONTENTS))
    return found.digest, data


def get(directory: pathlib.Path, archive: tuple[str, bytes]) -> pathlib.Path:
    digest, data = archive
    return pathlib.Path(unpacked.get(str(directory), digest, lambda begun: bundle.unpack(io.BytesIO(data), digest, begun, 10_000)))


def test_a_bundle_is_unpacked_once(tmp_path: pathlib.Path, archive: tuple[str, bytes]) -> None:
    folder = get(tmp_path / "cache", archive)
    assert (folder / "b/c.txt").read_bytes() == CONTENTS["b/c.txt"]
    assert pathlib.Path(unpacked.get(str(tmp_path / "cache"), archive[0], lambda begun: pytest.fail("again"))) == folder
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [archive[0].replace(":", "-")]


@pytest.mark.parametrize("damage", ["altered", "missing", "file"])
def test_what_was_damaged_is_unpacked_again(tmp_path: pathlib.Path, archive: tuple[str, bytes], damage: str) -> None:
    folder = get(tmp_path / "cache", archive)
    if damage == "altered":
        (folder / "a.txt").write_bytes(b"First")
    else:
        (folder / "a.txt").unlink()
    if damage == "file":
        folder.rename(tmp_path / "away")
        folder.write_bytes(b"a file in the place of the folder")
    assert get(tmp_path / "cache", archive) == folder
    assert (folder / "a.txt").read_bytes() == b"first"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_many_at_once_end_with_one_folder(tmp_path: pathlib.Path, archive: tuple[str, bytes]) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        (folder,) = set(pool.map(lambda _: get(tmp_path / "cache", archive), range(16)))
    assert bundle.is_whole(str(folder.parent), archive[0])
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_process_that_is_killed_leaves_no_bundle(tmp_path: pathlib.Path, archive: tuple[str, bytes], after: int) -> None:
    """Killed after so many of its three files; what it began is removed a day later."""
    digest, cache = archive[0], tmp_path / "cache"
    child = os.fork()
    if not child:
        written = [0]
        original = bundle._write

        def write_or_die(path, chunks):
            if written[0] == after:
                os.kill(os.getpid(), signal.SIGKILL)
            written[0] += 1
            return original(path, chunks)

        bundle._write = write_or_die
        unpacked._place = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
        get(cache, archive)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert left.name.startswith(".tmp-")
    assert bundle.is_whole(str(get(cache, archive).parent), digest) and left.exists()  # another may still be at work on it
    os.utime(left, (time.time() - 90_000,) * 2)
    (cache / digest.replace(":", "-") / "files/a.txt").unlink()
    get(cache, archive)
    assert not left.exists()


def test_the_default_folder_is_the_user_s_own(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert unpacked.default_folder() == str(tmp_path / "tokenreel/shelf")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert unpacked.default_folder() == "/home/someone/.cache/tokenreel/shelf"
