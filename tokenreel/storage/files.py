"""Reading and writing whole files and byte ranges, on a local disk or under `gs://`, the same way."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from typing import IO, Protocol

from tokenreel.storage import gcs, gcs_reader, gcs_writer

GS = gcs.GS
_FILE = "file://"
TEMPORARY = re.compile(r"\.tmp-[0-9a-f]+$")  # what `write_atomic` appends to a name until the file is complete
ABANDONED_SECONDS = 15 * 60  # a temporary file lives for as long as it takes to write one block
_CHUNK_BYTES = 4 << 20


class Readable(Protocol):
    """What a reader needs of a file that is open."""

    def read(self, size: int = -1, /) -> bytes:
        """Reads `size` bytes, fewer only at the end; all that are left where it is negative."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves to a byte."""


def expand(path: str) -> str:
    """Writes out `~` and takes `file://` away, from a path, a pattern or `@list`; all else is left as it is.

    >>> expand("file:///data/a%20b.txt"), expand("@file://localhost/list.txt"), expand("a/~b")
    ('/data/a b.txt', '@/list.txt', 'a/~b')
    """
    if path.startswith("@"):
        return f"@{expand(path[1:])}"
    if path.startswith(_FILE):
        host, slash, rest = path.removeprefix(_FILE).partition("/")
        return slash + urllib.parse.unquote(rest) if slash and host in ("", "localhost") else path
    return os.path.expanduser(path)


def is_remote(path: str) -> bool:
    """Says whether a path lies in Google Cloud Storage."""
    return path.startswith(GS)


def absolute(path: str) -> str:
    """Gives a path that means the same in any working directory."""
    return path if is_remote(path) else os.path.abspath(path)


def join(directory: str, name: str) -> str:
    """Appends a name to a directory, with the separator of its kind."""
    return f"{directory.rstrip('/')}/{name}" if is_remote(directory) else os.path.join(directory, name)


def read_bytes(path: str, offset: int = 0, length: int | None = None, version: int | None = None, size: int | None = None) -> bytes:
    """Reads a file, or the `length` bytes from `offset` on (fewer at its end).

    What comes from a bucket is compared in length with what must come, and with the object's CRC32C where it is read whole.

    Args:
      path: of the file.
      offset: first byte.
      length: how many; None for all that follow.
      version: generation of the object to read, for `gs://`; by default the one that is there now.
      size: of the object in this generation, where it is known: spares a look.

    Raises:
      FileNotFoundError: it does not exist, or no longer in that version.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(-1 if length is None else length)
    return gcs.read(path, offset, length, version, size)


def open_read(path: str, version: int | None = None, size: int | None = None) -> IO[bytes]:
    """Opens a file for reading bytes from its start.

    Args:
      path: of the file.
      version: generation of the object to read, for `gs://`; by default the one that is there now. Whatever happens to the object while
        it is read, the bytes are those of one generation.
      size: of the object in this generation, where it is known: spares a look.

    Raises:
      FileNotFoundError: it does not exist, or no longer in that version (found out at the first read where a version is given).
    """
    return gcs_reader.Reader(path, version, size) if is_remote(path) else open(path, "rb")  # type: ignore[return-value]


def size(path: str) -> int | None:
    """Gives the bytes in a file, or None where there is none."""
    if is_remote(path):
        found = remote_stat(path)
        return found and found[0]
    try:
        return os.stat(path).st_size if os.path.isfile(path) else None
    except FileNotFoundError:
        return None


def age(path: str) -> float:
    """Gives the seconds since a file was written or touched, by this machine's clock; 0 where there is none."""
    if is_remote(path):
        found = gcs.stat(path)
        return max(0.0, time.time() - found.used) if found else 0.0
    try:
        return max(0.0, time.time() - os.stat(path).st_mtime)
    except FileNotFoundError:
        return 0.0


def touch(path: str, after: float = 86_400.0) -> None:
    """Notes that a file was used now, if it was not used for `after` seconds: for an object that is a request."""
    if age(path) < after:
        return
    if is_remote(path):
        gcs.touch(path)
    else:
        with contextlib.suppress(OSError):  # somebody else's file may be read but not marked
            os.utime(path)


def checksum(path: str) -> tuple[int, int] | None:
    """Gives bytes and CRC32C of a file, or None where there is none. An object is not read for it where the server knows its CRC."""
    if is_remote(path):
        found = gcs.stat(path)
        if found is None or found.crc32c is not None:
            return found and (found.size, found.crc32c)  # type: ignore[return-value]
    import google_crc32c

    crc = size = 0
    try:
        with open_read(path) as file:
            while data := file.read(_CHUNK_BYTES):
                crc = google_crc32c.extend(crc, data)
                size += len(data)
    except FileNotFoundError:
        return None
    return size, crc


def remote_stat(path: str) -> tuple[int, int] | None:
    """Gives bytes and generation of an object, or None where there is none."""
    found = gcs.stat(path)
    return found and (found.size, found.generation)


def remote_glob(pattern: str) -> dict[str, tuple[int, int, int | None]]:
    """Gives bytes, generation and CRC32C of each object that matches a pattern or lies below a "directory", as the listing tells them."""
    return {found.path: (found.size, found.generation, found.crc32c) for found in gcs.glob(pattern)}


@contextlib.contextmanager
def write_atomic(path: str) -> Iterator[IO[bytes]]:
    """Opens a file that appears under its name complete, or not at all.

    Locally it is written beside its place, flushed to disk and renamed, and its name is flushed, too; in a bucket it appears when its
    upload ends. An exception in the body leaves nothing behind.

    Raises:
      BuildError: another process wrote other bytes to the object meanwhile.
    """
    if is_remote(path):
        with gcs_writer.writing(path) as stream:
            yield stream  # type: ignore[misc]
        return
    directory = os.path.dirname(path) or "."
    made = not os.path.isdir(directory)
    os.makedirs(directory, exist_ok=True)
    temporary = f"{path}.tmp-{secrets.token_hex(6)}"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(directory)
        if made:
            sync_directory(os.path.dirname(os.path.abspath(directory)))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def sync_directory(directory: str) -> None:
    """Has a directory written to disk: without that a machine that loses its power may forget a name that a file was given.

    File systems that cannot do that (of the network, mostly) have names of their own accord.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file atomically."""
    with write_atomic(path) as file:
        file.write(data)


def list_files(directory: str) -> dict[str, int]:
    """Lists every file below a directory: path relative to it, with "/", to bytes. A directory that does not exist holds none."""
    if is_remote(directory):
        return {name: found.size for name, found in remote_list(directory).items()}
    return {name: found.st_size for name, found in _walk(directory)}


def list_changes(directory: str) -> dict[str, float]:
    """Lists every file below a directory as `list_files` does, with the time of its last change or use in seconds since 1970."""
    if is_remote(directory):
        return {name: found.used for name, found in remote_list(directory).items()}
    return {name: found.st_mtime for name, found in _walk(directory)}


def list_beside(directory: str) -> list[str]:
    """Lists the files in a directory itself, none of those below it."""
    if is_remote(directory):
        return list(remote_list(directory, below=False))
    return sorted(entry.name for entry in os.scandir(directory) if entry.is_file())


def _walk(directory: str) -> list[tuple[str, os.stat_result]]:
    """Lists the files below a local directory, sorted by their paths relative to it; those that vanish meanwhile are left out."""
    found = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                found.append((os.path.relpath(path, directory).replace(os.sep, "/"), os.stat(path)))
    return sorted(found)


def list_with_crc32c(directory: str) -> dict[str, tuple[int, int | None]]:
    """Lists every file below a directory as `list_files` does, with the CRC32C that a bucket tells; None where none is known."""
    if not is_remote(directory):
        return {name: (size, None) for name, size in list_files(directory).items()}
    return {name: (found.size, found.crc32c) for name, found in remote_list(directory).items()}


def remote_list(directory: str, *, below: bool = True) -> dict[str, gcs.Object]:
    """Lists every object below a "directory", by its path relative to it; with `below=False` those alone that lie in it directly."""
    bucket, prefix = gcs.split(directory.rstrip("/"))
    prefix = f"{prefix}/" if prefix else ""
    base = len(f"{GS}{bucket}/{prefix}")
    return {found.path[base:]: found for found in gcs.list_objects(bucket, prefix, below=below)}


def remove(path: str) -> None:
    """Removes a file; that it is gone already is no error."""
    if not is_remote(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    gcs.remove(path)


def remove_tree(directory: str) -> None:
    """Removes a directory and everything below it."""
    if is_remote(directory):
        for name in list_files(directory):
            remove(join(directory, name))
    else:
        shutil.rmtree(directory, ignore_errors=True)
