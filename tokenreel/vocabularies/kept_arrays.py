"""What is worked out from a model's file (tries, tables of merges, automata), kept on this machine and mapped by its processes.

The first process that needs the arrays of a model builds them and writes them to a file below `folder()`. All others map the file: what it
holds is in memory once, however many processes read it. A model's own code has two functions,

    def build() -> Built: ...                                       # slow: the file's bytes to named arrays, and plain values about them
    found = kept_arrays.get("byte-pairs", fingerprint, build)       # found.arrays["merged"], found.about["form"]

and uses nothing in `build` that the fingerprint does not tell: it names the bytes of the model's files and the options that matter. The
version of the code needs no thought. Every source file of `vocabularies` counts, and of what it builds with: a change to one of them makes
all arrays anew.

Kept arrays never change what is encoded, and are never an error. Where the folder cannot be written to, or a file is damaged or another
user's, arrays are built in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.resources
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.storage import column_file, files, user_cache
from tokenreel.storage.column_file import Columns
from tokenreel.version import __version__

Built = tuple[Mapping[str, npt.NDArray[Any]], Any]
"""Named arrays of one dimension or more, and of dtypes without objects; and values that JSON knows, whose tuples come back as lists."""

_SUFFIX = ".arrays"
_DIGEST_BYTES = 32  # hexadecimal digits, behind the columns
_UNUSED_SECONDS = 30 * 86_400
_MOST_BYTES = 1 << 30  # of all files; the arrays of a model of 128,000 pieces take 10 MB
_WAIT_SECONDS = 20.0  # for another process that builds: more than it takes, and an end where one was stopped at it


def folder() -> str:
    """Gives the folder of kept arrays. Files that nobody used for 30 days are removed, and the oldest where all take over 1 GiB."""
    return user_cache.folder("arrays")


def get(kind: str, fingerprint: str, build: Callable[[], Built]) -> Columns:
    """Maps the arrays of a model, which are built first where they are not kept.

    Args:
      kind: of arrays; letters and dashes.
      fingerprint: hexadecimal digits that tell all that `build` reads.
      build: called if they are not kept, by one process of the machine at a time.

    Returns:
      `arrays`, which cannot be written to, and `about`; `rows` is 0. Equal to what `build` gives, but that tuples in `about` are lists.

    Raises:
      Exception: whatever `build` raises; nothing is kept then.
    """
    version = _version()
    if version is None or not os.path.isabs(folder()):
        return not_kept(build)
    name = keys.digest(kind, fingerprint, version)
    path = os.path.join(folder(), f"{kind}-{name}{_SUFFIX}")
    found = _load(path, name)
    if found is None:
        with _alone(folder()):
            found = _load(path, name)  # another process may have been faster
            if found is None:
                data = _joined(build())
                with contextlib.suppress(OSError):
                    _write(path, name, data)
                found = data
    return column_file.of_bytes(found)


def not_kept(build: Callable[[], Built]) -> Columns:
    """Gives what `get` would, and keeps nothing: for what is made sooner than a file is mapped."""
    return column_file.of_bytes(_joined(build()))


def named(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Names arrays as those of one part among others; see `part`."""
    return {f"{prefix}/{name}": values for name, values in arrays.items()}


def part(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Gives the arrays of one part, by the names they have there.

    >>> sorted(part("trie", named("trie", {"slots": np.zeros(1), "begins": np.zeros(2)}) | {"other": np.zeros(3)}))
    ['begins', 'slots']
    """
    return {name.removeprefix(f"{prefix}/"): values for name, values in arrays.items() if name.startswith(f"{prefix}/")}


def pack(prefix: str, values: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
    """Names arrays and numbers by their places in a tuple, such as a kernel takes; see `unpack`."""
    numbers = ["" if isinstance(value, np.ndarray) else "/number" for value in values]
    return {f"{prefix}/{i:02}{number}": np.atleast_1d(value) for i, (value, number) in enumerate(zip(values, numbers, strict=True))}


def unpack(prefix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Any, ...]:
    """Gives the tuple that was packed; its numbers are NumPy's.

    >>> unpack("model", pack("model", (np.arange(2), True, np.float32(0.5))))
    (array([0, 1]), np.True_, np.float32(0.5))
    """
    found = sorted(part(prefix, arrays).items())
    return tuple(values[0] if name.endswith("/number") else values for name, values in found)


def _joined(built: Built) -> npt.NDArray[np.uint8]:
    arrays, about = built
    return np.frombuffer(b"".join(column_file.to_parts(Columns(0, arrays, about))), dtype=np.uint8)


@functools.cache
def _version() -> str | None:
    """Hashes the sources of all code that builds arrays; None where only compiled files are installed."""
    digest, count = hashlib.blake2b(f"{__version__} {sys.byteorder}".encode(), digest_size=16), 0
    root = importlib.resources.files("tokenreel")
    used = (root / "ragged.py", root / "format" / "wire.py", root / "storage" / "column_file.py")
    for path in (*used, *_sources(root / "vocabularies")):
        if path.is_file():
            digest.update(b"%s\0%s\0" % (path.name.encode(), path.read_bytes()))
            count += 1
    return digest.hexdigest() if count > len(used) else None


def _sources(directory: Traversable) -> Iterator[Traversable]:
    """Yields the source files below a package, in order; it may lie in an archive."""
    for path in sorted(directory.iterdir(), key=lambda path: path.name):
        if path.name.endswith(".py"):
            yield path
        elif path.is_dir() and path.name != "__pycache__":
            yield from _sources(path)


def _load(path: str, name: str) -> npt.NDArray[np.uint8] | None:
    """Maps a file of our own that holds what was written under the name; None where there is none."""
    try:
        with open(path, "rb", opener=_open) as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISREG(found.st_mode):
                return None  # somebody else could give it any content
            data = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
        files.touch(path)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
    data, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    return data if digest.tobytes() == _digest(name, data) else None


def _open(path: str, flags: int) -> int:
    """Opens a file itself, not what a link names, and waits for no writer of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _digest(name: str, data: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(data.data, digest_size=_DIGEST_BYTES // 2, key=name.encode()).hexdigest().encode()


def _write(path: str, name: str, data: npt.NDArray[np.uint8]) -> None:
    with files.write_atomic(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data.data)
        file.write(_digest(name, data))
    _clean(path)


def _clean(new: str) -> None:
    """Removes what nobody uses, and what a killed process left; the file that was just written stays."""
    directory = os.path.dirname(new)
    room = _MOST_BYTES - os.stat(new).st_size
    others = [(entry.path, entry.stat(follow_symlinks=False)) for entry in os.scandir(directory) if entry.path != new]
    for path, found in sorted(others, key=lambda other: other[1].st_mtime, reverse=True):
        unused, gone = time.time() - found.st_mtime, False
        if path.endswith(_SUFFIX):
            room -= found.st_size
            gone = unused > _UNUSED_SECONDS or room < 0
        elif files.TEMPORARY.search(path):
            gone = unused > files.ABANDONED_SECONDS
        if gone and found.st_uid == os.geteuid():
            os.unlink(path)


@contextlib.contextmanager
def _alone(directory: str) -> Iterator[None]:
    """Keeps other processes from building meanwhile, as far as the directory allows it and for `_WAIT_SECONDS` at most."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            end = time.monotonic() + _WAIT_SECONDS
            while not _locked(descriptor) and time.monotonic() < end:
                time.sleep(0.02)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
