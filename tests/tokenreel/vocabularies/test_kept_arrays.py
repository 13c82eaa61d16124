"""Kept arrays: equal to those that are built, whole or not there, and nobody else's."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tokenreel.storage import files
from tokenreel.vocabularies import kept_arrays
from tokenreel.vocabularies.kept_arrays import Built

ARRAYS = {
    "ids": np.arange(7, dtype=np.int32),
    "table": np.arange(6, dtype=np.int64).reshape(2, 3),
    "allowed": np.array([True, False]),
    "scores": np.array([-1.5, np.inf], dtype=np.float32),
    "none": np.zeros((0, 4), dtype=np.uint64),
}
ABOUT = {"form": None, "names": ["a", "▁b"], "count": 3}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache/tokenreel/arrays"


class Builder:
    """Counts how often arrays are built."""

    def __init__(self, fill: int = 0) -> None:
        self.built, self._fill = 0, fill

    def __call__(self) -> Built:
        self.built += 1
        return ARRAYS | {"filling": np.ones(self._fill, dtype=np.uint8)}, ABOUT


def check(found: kept_arrays.Columns) -> None:
    assert found.about == ABOUT
    for name, expected in ARRAYS.items():
        array = found.arrays[name]
        assert array.dtype == expected.dtype and array.shape == expected.shape and not array.flags.writeable
        assert array.ctypes.data % array.itemsize == 0
        np.testing.assert_array_equal(array, expected)


def test_arrays_are_built_once_and_mapped_from_then_on(folder: pathlib.Path) -> None:
    build = Builder()
    check(kept_arrays.get("tries", "ab", build))
    check(kept_arrays.get("tries", "ab", build))
    assert build.built == 1
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    mapped = kept_arrays.get("tries", "ab", build).arrays["ids"]
    path.unlink()  # what is mapped stays
    np.testing.assert_array_equal(mapped, ARRAYS["ids"])


@pytest.mark.parametrize("changed", ["kind", "fingerprint", "code"])
def test_what_the_name_tells_keeps_arrays_apart(changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_arrays.get("tries", "ab", Builder())
    build = Builder()
    if changed == "code":
        monkeypatch.setattr(kept_arrays, "_version", lambda: "another")
    kept_arrays.get("merges" if changed == "kind" else "tries", "cd" if changed == "fingerprint" else "ab", build)
    assert build.built == 1


def test_the_version_is_that_of_all_sources(tmp_path: pathlib.Path) -> None:
    """A copy of the package has the same one; a changed line in a kernel gives another."""
    package = pathlib.Path(kept_arrays.__file__).parents[1]
    subprocess.run(["cp", "-r", package, tmp_path], check=True)

    def version() -> str:
        command = "from tokenreel.vocabularies import kept_arrays as k; print(k.__file__, k._version())"
        out = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, env={"PYTHONPATH": "."}, check=True, capture_output=True)
        path, found = out.stdout.decode().split()
        assert path.startswith(str(tmp_path))
        return found

    first = version()
    assert first == kept_arrays._version()
    with open(tmp_path / "tokenreel/vocabularies/unit_memo/kernels/trie.py", "a") as file:
        file.write("# changed\n")
    assert version() != first


def damage(path: pathlib.Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "empty":
        data.clear()
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "digest only":
        del data[:-32]
    else:
        data[{"first": 0, "header": 30, "array": 600, "last": -1}[how]] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["empty", "cut", "digest only", "first", "header", "array", "last"])
def test_a_damaged_file_is_made_anew(how: str, folder: pathlib.Path) -> None:
    build = Builder()
    kept_arrays.get("tries", "ab", build)
    (path,) = folder.iterdir()
    damage(path, how)
    check(kept_arrays.get("tries", "ab", build))
    check(kept_arrays.get("tries", "ab", build))
    assert build.built == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)], ids=["pipe", "folder", "link"])
def test_what_is_no_file_is_not_waited_for(make: Callable[[pathlib.Path], None], folder: pathlib.Path) -> None:
    kept_arrays.get("tries", "ab", Builder())
    (path,) = folder.iterdir()
    path.unlink()
    make(path)
    build, before = Builder(), len(os.listdir("/proc/self/fd"))
    handler = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(10)
    try:
        check(kept_arrays.get("tries", "ab", build))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    assert build.built == 1 and len(os.listdir("/proc/self/fd")) == before


def test_a_file_of_another_name_is_not_taken(folder: pathlib.Path) -> None:
    kept_arrays.get("tries", "ab", Builder())
    (first,) = folder.iterdir()
    kept_arrays.get("tries", "cd", Builder(fill=9))
    (second,) = set(folder.iterdir()) - {first}
    os.replace(first, second)
    build = Builder(fill=9)
    assert len(kept_arrays.get("tries", "cd", build).arrays["filling"]) == 9 and build.built == 1


def test_a_file_of_another_user_is_not_taken(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Builder()
    kept_arrays.get("tries", "ab", build)
    (path,) = folder.iterdir()
    path.chmod(0o620)  # another of the group may have written to it
    check(kept_arrays.get("tries", "ab", build))
    assert build.built == 2 and path.stat().st_mode & 0o777 == 0o600
    target = path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(target)
    check(kept_arrays.get("tries", "ab", build))
    assert build.built == 3
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    check(kept_arrays.get("tries", "ab", build))
    assert build.built == 4


@pytest.mark.parametrize("place", ["no directory", "nowhere", "relative", "full"])
def test_where_nothing_can_be_kept_arrays_are_built(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, folder: pathlib.Path
) -> None:
    def full(path: str) -> None:
        raise OSError(28, "No space left on device")

    if place == "full":
        monkeypatch.setattr(files, "write_atomic", full)
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", {"no directory": str(tmp_path / "file"), "nowhere": "/proc/nowhere", "relative": "~"}[place])
    monkeypatch.chdir(tmp_path)
    build = Builder()
    check(kept_arrays.get("tries", "ab", build))
    check(kept_arrays.get("tries", "ab", build))
    assert build.built == 2 and not (tmp_path / "~").exists() and not list(folder.glob("*"))


def test_what_a_builder_raises_comes_through_and_nothing_is_kept(folder: pathlib.Path) -> None:
    def build() -> Built:
        raise KeyError("no such piece")

    with pytest.raises(KeyError, match="no such piece"):
        kept_arrays.get("tries", "ab", build)
    assert list(folder.iterdir()) == []


def _build_slowly(log: str, stop: bool) -> None:
    def build() -> Built:
        with open(log, "a") as file:
            file.write("built\n")
        time.sleep(0.3)
        if stop:
            os.kill(os.getpid(), signal.SIGKILL)
        return ARRAYS, ABOUT

    check(kept_arrays.get("tries", "ab", build))


def test_processes_that_start_together_build_once(tmp_path: pathlib.Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=spawn) as pool:
        for done in [pool.submit(_build_slowly, str(tmp_path / "log"), False) for _ in range(8)]:
            done.result()
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_process_that_is_killed_leaves_nothing(tmp_path: pathlib.Path, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_build_slowly, args=(str(tmp_path / "log"), True))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and list(folder.iterdir()) == []
    begun = folder / "tries-0.arrays.tmp-00ff"  # of one that was killed while it wrote
    begun.touch()
    os.utime(begun, (0, 0))
    build = Builder()
    check(kept_arrays.get("tries", "ab", build))
    assert build.built == 1 and not begun.exists()


def test_nobody_waits_for_ever(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_arrays, "_WAIT_SECONDS", 0.1)
    with kept_arrays._alone(str(folder)):
        check(kept_arrays.get("tries", "ab", Builder()))


def test_what_is_old_or_too_much_is_removed(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(name: str, days: float) -> pathlib.Path:
        before = set(folder.glob("*"))
        kept_arrays.get("tries", name, Builder(fill=10_000))
        (path,) = set(folder.iterdir()) - before
        os.utime(path, (time.time() - 86_400 * days,) * 2)
        return path

    old, used, new = keep("ab", 31), keep("cd", 2), keep("ef", 1)
    assert not old.exists() and used.exists() and new.exists()
    kept_arrays.get("tries", "cd", Builder())  # notes that it was used
    monkeypatch.setattr(kept_arrays, "_MOST_BYTES", 25_000)
    last = keep("01", 0)
    assert used.exists() and last.exists() and not new.exists()


def test_other_files_are_left_alone(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    other = folder / "notes.txt"
    other.touch()
    os.utime(other, (0, 0))
    check(kept_arrays.get("tries", "ab", Builder()))
    assert other.exists()


def test_a_tuple_for_a_kernel_comes_back_as_it_was() -> None:
    values = (np.arange(12, dtype=np.uint32), True, np.int32(-4), *(np.full(i, i, dtype=np.int64) for i in range(12)), np.float32(0.25), 7)

    def build() -> Built:
        return kept_arrays.pack("model", values) | kept_arrays.pack("other", values[:2]), None

    for _ in range(2):
        found = kept_arrays.unpack("model", kept_arrays.get("tuples", "ab", build).arrays)
        assert len(found) == len(values)
        for value, expected in zip(found, values, strict=True):
            assert np.asarray(value).dtype == np.asarray(expected).dtype and np.shape(value) == np.shape(expected)
            np.testing.assert_array_equal(value, expected)
