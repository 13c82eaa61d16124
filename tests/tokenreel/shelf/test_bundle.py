"""Bundles: the bytes follow from the contents alone, other programs read them, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import random
import shutil
import subprocess
import tarfile

import pytest

from tests.soak import bundles as hostile
from tokenreel.errors import ConfigError, ShelfError
from tokenreel.shelf import bundle

LONG = "/".join(["folder" * 10, "other" * 15, "name" * 20])


def write(folder: pathlib.Path, contents: dict[str, bytes]) -> pathlib.Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def packed(folder: pathlib.Path) -> tuple[bundle.Bundle, bytes]:
    paths = bundle.find(str(folder))
    found = bundle.describe(paths)
    return found, b"".join(bundle.pack(found, paths))


@pytest.mark.parametrize("read", ["tarfile", "tar"])
def test_other_programs_read_bundles(tmp_path: pathlib.Path, read: str) -> None:
    contents = {**hostile.CONTENTS, LONG: b"long", "z\u00fc \u65e5.txt": b"names are UTF-8"}
    found, archive = packed(write(tmp_path / "in", contents))
    assert len(archive) == found.packed_bytes and found.content_bytes == sum(map(len, contents.values()))
    (tmp_path / "out").mkdir()
    if read == "tar":
        subprocess.run(["tar", "xf", "-", "-C", str(tmp_path / "out")], input=archive, check=True)
    else:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as members:
            members.extractall(tmp_path / "out", filter="data")
    unpacked = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert unpacked.pop("bundle.json") == found.manifest
    assert unpacked == {f"files/{name}": content for name, content in contents.items()}
    assert found.digest == f"sha256:{hashlib.sha256(found.manifest).hexdigest()}"


def test_the_bytes_follow_from_the_contents_alone(tmp_path: pathlib.Path) -> None:
    first = packed(write(tmp_path / "a", hostile.CONTENTS))
    other = write(tmp_path / "b", dict(reversed(hostile.CONTENTS.items())))
    (other / "empty").mkdir()
    (other / "a.txt").chmod(0o755)
    os.utime(other / "a.txt", (1e9, 1e9))
    (other / "b/d.txt").unlink()
    (other / "b/d.txt").symlink_to(write(tmp_path, {"elsewhere": b""}) / "elsewhere")
    assert packed(other) == first
    write(other, {"a.txt": b"First"})
    assert packed(other)[0].digest != first[0].digest


def test_bytes_are_those_of_every_version(tmp_path: pathlib.Path) -> None:
    """Tags and lock files name digests: they must not depend on the version of Python or of this project."""
    found, archive = packed(write(tmp_path, {"a.txt": b"first"}))
    assert found.digest == "sha256:db3520f418123475a6530184a3e6a87e35307c2c1b940bc8ec8d2c912cdb761c"
    assert hashlib.sha256(archive).hexdigest() == "62c5813ea5fb9e22c34a2be18e4287cd2ef96b45db345f3943651c82efd0a75a"


def test_what_is_packed_is_unpacked(tmp_path: pathlib.Path) -> None:
    draw = random.Random(3)
    contents = {f"{draw.choice('abc')}/{number}": draw.randbytes(draw.choice([0, 1, 511, 512, 513, 5000])) for number in range(40)}
    found, archive = packed(write(tmp_path / "in", contents))
    (tmp_path / "out").mkdir()
    assert bundle.unpack(io.BytesIO(archive), found.digest, str(tmp_path / "out"), found.content_bytes) == found
    assert bundle.is_whole(str(tmp_path / "out"), found.digest)
    assert packed(tmp_path / "out/files") == (found, archive)


def test_sizes_are_compared_before_a_file_is_written(tmp_path: pathlib.Path) -> None:
    found, archive = packed(write(tmp_path / "in", hostile.CONTENTS))
    (tmp_path / "out").mkdir()
    with pytest.raises(ShelfError, match=rf"take {found.content_bytes:,} bytes, the limit is {found.content_bytes - 1:,}"):
        bundle.unpack(io.BytesIO(archive), found.digest, str(tmp_path / "out"), found.content_bytes - 1)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "missing", "link", "more", "list", "none"])
def test_an_unpacked_bundle_is_whole_or_not(tmp_path: pathlib.Path, damage: str) -> None:
    found, archive = packed(write(tmp_path / "in", hostile.CONTENTS))
    out = tmp_path / "out"
    out.mkdir()
    bundle.unpack(io.BytesIO(archive), found.digest, str(out), 10_000)
    path = out / "files/b/c.bin"
    content = path.read_bytes()
    if damage == "link":
        path.rename(tmp_path / "moved")
        path.symlink_to(tmp_path / "moved")
    elif damage == "missing":
        path.unlink()
    elif damage == "more":
        write(out, {"files/z": b""})
    elif damage == "list":
        (out / "bundle.json").write_bytes(found.manifest + b" ")
    elif damage == "none":
        shutil.rmtree(out)
    else:
        path.write_bytes({"flip": bytes([content[0] ^ 1]) + content[1:], "cut": content[:-1], "longer": content + b"x"}[damage])
    assert not bundle.is_whole(str(out), found.digest)


@pytest.mark.parametrize("make", ["folder_link", "dangling", "pipe", "nothing", "empty", "control", "long", "bytes"])
def test_what_cannot_be_pushed_is_refused(tmp_path: pathlib.Path, make: str) -> None:
    folder = write(tmp_path / "in", {} if make in ("empty", "nothing") else {"a.txt": b"x"})
    if make == "folder_link":
        (folder / "link").symlink_to(tmp_path)
    elif make == "dangling":
        (folder / "link").symlink_to(tmp_path / "nothing")
    elif make == "pipe":
        os.mkfifo(folder / "pipe")
    elif make == "empty":
        folder.mkdir()
    elif make == "control":
        write(folder, {"a\nb": b""})
    elif make == "long":
        write(folder, {"x" * 101: b""})
    elif make == "bytes":
        (folder / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"no regular file|no file here|cannot be pushed"):
        bundle.describe(bundle.find(str(folder)))


def test_a_file_that_changes_meanwhile_ends_the_push(tmp_path: pathlib.Path) -> None:
    paths = bundle.find(str(write(tmp_path, {"a.txt": b"first"})))
    found = bundle.describe(paths)
    write(tmp_path, {"a.txt": b"other"})
    with pytest.raises(ShelfError, match=r"a\.txt: changed while it was pushed"):
        list(bundle.pack(found, paths))


def test_lists_have_at_most_so_many_files() -> None:
    file = bundle.File(name="a", bytes=0, sha256="0" * 64)
    with pytest.raises(ShelfError, match="1 to 100,000 files, this one 100,001"):
        bundle.Bundle((file,) * 100_001)


def test_hostile_bundles_leave_nothing() -> None:
    """`python -m tests.soak bundles --count 10000` tries more of them."""
    result = hostile.run(300, seed=1)
    assert result.sound and result.chains == 300 and result.refused > 280, result
