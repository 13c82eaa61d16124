"""Reading and writing whole files and byte ranges, on a local disk or under `gs://`, the same way."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from typing import IO, Any

GS = "gs://"


def is_remote(path: str) -> bool:
    """Whether the path lies in Google Cloud Storage."""
    return path.startswith(GS)


def join(directory: str, name: str) -> str:
    """Appends a name to a directory, with the separator of its kind."""
    return f"{directory.rstrip('/')}/{name}" if is_remote(directory) else os.path.join(directory, name)


@functools.cache
def _client() -> Any:
    try:
        from google.cloud import storage
    except ImportError as error:
        raise ModuleNotFoundError("gs:// paths need google-cloud-storage: pip install google-cloud-storage") from error
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        from google.auth.credentials import AnonymousCredentials

        return storage.Client(project="emulator", credentials=AnonymousCredentials())
    return storage.Client()


def _blob(path: str) -> Any:
    bucket, _, name = path.removeprefix(GS).partition("/")
    return _client().bucket(bucket).blob(name)


def read_bytes(path: str, offset: int = 0, length: int | None = None) -> bytes:
    """Reads a file, or the `length` bytes from `offset` on (fewer at its end).

    Raises:
      FileNotFoundError: it does not exist.
    """
    if not is_remote(path):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(-1 if length is None else length)
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    if length == 0:
        return b""
    try:
        end = None if length is None else offset + length - 1
        return bytes(_blob(path).download_as_bytes(start=offset or None, end=end, raw_download=True))
    except NotFound:
        raise FileNotFoundError(path) from None
    except RequestRangeNotSatisfiable:
        return b""


def open_read(path: str) -> IO[bytes]:
    """Opens a file for reading bytes from its start.

    Raises:
      FileNotFoundError: it does not exist.
    """
    if not is_remote(path):
        return open(path, "rb")
    from google.api_core.exceptions import NotFound

    blob = _blob(path)
    try:
        blob.reload()
    except NotFound:
        raise FileNotFoundError(path) from None
    stream: IO[bytes] = blob.open("rb", raw_download=True)
    return stream


def size(path: str) -> int | None:
    """Bytes in the file, or None where there is none."""
    if is_remote(path):
        found = remote_stat(path)
        return found and found[0]
    try:
        return os.stat(path).st_size if os.path.isfile(path) else None
    except FileNotFoundError:
        return None


def remote_stat(path: str) -> tuple[int, int] | None:
    """Bytes and generation of an object, or None where there is none."""
    from google.api_core.exceptions import NotFound

    blob = _blob(path)
    try:
        blob.reload()
    except NotFound:
        return None
    return int(blob.size), int(blob.generation)


def remote_glob(pattern: str) -> list[str]:
    """Objects that match a pattern (`*` stays within a path's part, `**` crosses), or lie below a "directory"."""
    bucket, _, rest = pattern.removeprefix(GS).partition("/")
    if not any(wildcard in rest for wildcard in "*?["):
        if rest and _blob(pattern).exists():
            return [pattern]
        return [f"{GS}{bucket}/{_parent(rest)}{name}" for name in list_files(pattern) if not name.rpartition("/")[2].startswith((".", "_"))]
    prefix = rest[: min(rest.find(wildcard) for wildcard in "*?[" if wildcard in rest)]
    matcher = re.compile(_glob_expression(rest))
    return [f"{GS}{bucket}/{blob.name}" for blob in _client().list_blobs(bucket, prefix=prefix) if matcher.fullmatch(blob.name)]


def _parent(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""


def _glob_expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(known.get(part) or (part.replace("[!", "[^") if part.startswith("[") else re.escape(part)) for part in parts)


@contextlib.contextmanager
def write_atomic(path: str) -> Iterator[IO[bytes]]:
    """Opens a file that appears under its name complete, or not at all.

    Locally it is written beside its place, flushed to disk and renamed; in a bucket an object appears when its upload ends. An exception in
    the body leaves nothing behind.
    """
    if is_remote(path):
        with _blob(path).open("wb", ignore_flush=True) as stream:
            yield stream
        return
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = f"{path}.tmp-{secrets.token_hex(6)}"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file atomically."""
    with write_atomic(path) as file:
        file.write(data)


def list_files(directory: str) -> dict[str, int]:
    """Every file below a directory: path relative to it, with "/", to bytes. A directory that does not exist holds none."""
    if is_remote(directory):
        bucket, _, prefix = directory.removeprefix(GS).rstrip("/").partition("/")
        prefix = f"{prefix}/" if prefix else ""
        return {
            blob.name[len(prefix) :]: int(blob.size) for blob in _client().list_blobs(bucket, prefix=prefix) if not blob.name.endswith("/")
        }
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                found[os.path.relpath(path, directory).replace(os.sep, "/")] = os.stat(path).st_size
    return dict(sorted(found.items()))


def remove(path: str) -> None:
    """Removes a file; that it is gone already is no error."""
    if not is_remote(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    from google.api_core.exceptions import NotFound

    with contextlib.suppress(NotFound):
        _blob(path).delete()


def remove_tree(directory: str) -> None:
    """Removes a directory and everything below it."""
    if is_remote(directory):
        for name in list_files(directory):
            remove(join(directory, name))
    else:
        shutil.rmtree(directory, ignore_errors=True)
