import os

import pytest

from tests import buckets
from tokenreel.storage import files, gcs


@pytest.fixture(scope="module")
def remote():
    with buckets.storage() as path:
        yield path


@pytest.fixture(params=["local", "remote"])
def directory(request, tmp_path):
    """A directory that does not exist yet."""
    if request.param == "local":
        return str(tmp_path / "directory")
    return f"{request.getfixturevalue('remote')}/{request.node.name}"


def test_what_was_written_is_read(directory):
    path = files.join(directory, "a/b.bin")
    data = bytes(range(256)) * 40
    files.write_bytes(path, data)
    assert files.read_bytes(path) == data
    assert files.size(path) == len(data)
    with files.open_read(path) as file:
        assert file.read(10) + file.read() == data


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 3, b"012"), (7, 3, b"789"), (8, 10, b"89"), (10, 5, b""), (99, 5, b""), (3, 0, b""), (0, 0, b""), (6, None, b"6789")],
)
def test_ranges_stop_at_the_end(directory, offset, length, expected):
    path = files.join(directory, "digits")
    files.write_bytes(path, b"0123456789")
    assert files.read_bytes(path, offset, length) == expected


def test_an_empty_file_is_a_file(directory):
    path = files.join(directory, "empty")
    files.write_bytes(path, b"")
    assert files.read_bytes(path) == b""
    assert files.size(path) == 0
    assert files.list_files(directory) == {"empty": 0}


def test_what_is_missing_is_missing(directory):
    path = files.join(directory, "nothing")
    assert files.size(path) is None
    assert files.list_files(directory) == {}
    for read in (files.read_bytes, files.open_read):
        with pytest.raises(FileNotFoundError):
            read(path)
    files.remove(path)
    files.remove_tree(directory)


def test_an_exception_leaves_what_was_there(directory):
    path = files.join(directory, "file")
    for before in (None, b"old"):
        if before is not None:
            files.write_bytes(path, before)
        with pytest.raises(RuntimeError), files.write_atomic(path) as file:
            file.write(b"new, but only half of it")
            raise RuntimeError
        assert files.list_files(directory) == ({} if before is None else {"file": 3})
    files.write_bytes(path, b"newer")
    assert files.read_bytes(path) == b"newer"


def test_a_file_appears_when_it_is_complete(directory):
    path = files.join(directory, "shard")
    with files.write_atomic(path) as file:
        file.write(b"x" * 100_000)
        file.flush()
        assert files.size(path) is None
        assert all(files.TEMPORARY.search(name) for name in files.list_files(directory)), "leftovers of a kill must be recognised"
    assert files.list_files(directory) == {"shard": 100_000}


def test_listing_is_sorted_and_crosses_directories(directory):
    for name in ("b", "a/z", "a/b/c", ".hidden"):
        files.write_bytes(files.join(directory, name), name.encode())
    assert list(files.list_files(directory)) == sorted(["b", "a/z", "a/b/c", ".hidden"])
    assert files.list_files(files.join(directory, "a")) == {"b/c": 5, "z": 3}
    files.remove(files.join(directory, "b"))
    files.remove_tree(files.join(directory, "a"))
    assert files.list_files(directory) == {".hidden": 7}


def test_what_lies_in_a_directory_itself(directory):
    for name in ("b", "a", "deep/c"):
        files.write_bytes(files.join(directory, name), b"12")
    assert files.list_beside(directory) == ["a", "b"]


def test_changes_are_listed_with_their_times(tmp_path):
    for when, name in enumerate(("b", "deep/a")):
        files.write_bytes(str(tmp_path / name), b"12")
        os.utime(tmp_path / name, (5, 1e9 + when))
    assert files.list_changes(str(tmp_path)) == {"b": 1e9, "deep/a": 1e9 + 1}


def test_a_neighbour_with_the_same_prefix_is_not_listed(directory):
    files.write_bytes(files.join(directory, "x"), b"1")
    files.write_bytes(f"{directory}-2/y", b"2")
    assert files.list_files(directory) == {"x": 1}
    files.remove_tree(directory)
    assert files.list_files(f"{directory}-2") == {"y": 1}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt"]),
        ("**/*.txt", ["a.txt", "d/_skipped.txt", "d/b.txt", "d/e/c.txt"]),
        ("d/*", ["d/_skipped.txt", "d/b.txt"]),
        ("d/?.txt", ["d/b.txt"]),
        ("d", ["d/b.txt", "d/e/c.txt"]),
        ("d/", ["d/b.txt", "d/e/c.txt"]),
        ("a.txt", ["a.txt"]),
        ("[!a].txt", []),
        ("[a-c].txt", ["a.txt"]),
        ("a+txt", []),
        ("none", []),
    ],
)
def test_remote_patterns(remote, pattern, expected):
    root = f"{remote}/globs"
    for name in ("a.txt", "d/b.txt", "d/_skipped.txt", "d/e/c.txt"):
        files.write_bytes(f"{root}/{name}", b"x")
    found = [path.removeprefix(f"{root}/") for path in files.remote_glob(f"{root}/{pattern}")]
    assert sorted(found) == expected


def test_a_remote_object_has_a_generation(remote):
    path = f"{remote}/generation"
    assert files.remote_stat(path) is None
    files.write_bytes(path, b"1")
    first = files.remote_stat(path)
    files.write_bytes(path, b"22")
    second = files.remote_stat(path)
    assert first is not None and second is not None
    assert (first[0], second[0]) == (1, 2)
    assert first[1] != second[1]


def test_paths_are_joined_with_the_separator_of_their_kind():
    assert files.join("gs://bucket/directory/", "a/b") == "gs://bucket/directory/a/b"
    assert files.join("directory", "a") == os.path.join("directory", "a")
    assert files.is_remote("gs://bucket/x") and not files.is_remote("/gs:/x")


def test_gs_without_its_package_says_what_to_install(monkeypatch):
    gcs._client.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "google.cloud.storage", None)
    monkeypatch.delattr("google.cloud.storage", raising=False)
    with pytest.raises(ModuleNotFoundError, match="pip install google-cloud-storage"):
        files.read_bytes("gs://bucket/x")


def test_a_name_is_flushed_behind_the_bytes_that_it_names(tmp_path, monkeypatch):
    """Otherwise a machine that loses its power may have the manifest, and a shard of no bytes or of none."""
    events = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor):
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def rename(old, new):
        events.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    folder = tmp_path / "new"
    files.write_bytes(str(folder / "x"), b"one")
    assert files.TEMPORARY.sub("", events[0]) == str(folder / "x")
    assert events[1:] == ["rename", str(folder), str(tmp_path)], "the folder is new itself"
    del events[:]
    files.write_bytes(str(folder / "x"), b"two")
    assert events[1:] == ["rename", str(folder)]
    monkeypatch.setattr(os, "fsync", lambda descriptor: fsync(descriptor) if os.path.isfile(f"/proc/self/fd/{descriptor}") else refuse())
    files.write_bytes(str(folder / "x"), b"three")
    assert (folder / "x").read_bytes() == b"three", "a file system that cannot flush folders is no obstacle"


def refuse():
    raise OSError(22, "Invalid argument")
