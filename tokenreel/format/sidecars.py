"""Reading what stands beside the shards: no byte of it is used that is not the one that the manifest knows.

The statistics, the dead letters, the vocabulary's copy and the provenance tables are compared with size and CRC of the manifest when they
are read, so that a file which was damaged or replaced is refused instead of believed.
"""

from __future__ import annotations

import io
import json
import os
from typing import IO, Any

from tokenreel.errors import ManifestError, StorageError, describe_os_error
from tokenreel.format.manifest import FileInfo, Manifest
from tokenreel.storage import files

COPY_AGAIN = "Copy it again from where it was built, or run `tokenreel verify` to list every difference."
_CHUNK_BYTES = 4 << 20
_LARGE_BYTES = 64 << 20  # a file from this size on is compared once, and then only when it was written since
_known_sound: set[tuple[object, ...]] = set()


def find(manifest: Manifest, name: str) -> FileInfo | None:
    """Finds what the manifest says of a file beside the shards; None where the dataset has none of this name."""
    return manifest.find_file(name)


def read(directory: str, manifest: Manifest, name: str) -> bytes:
    """Reads a whole file of a dataset.

    Raises:
      FileNotFoundError: it is missing, or the manifest lists none of this name, whatever lies in the directory; says which.
      ManifestError: it is not what was written; names the file.
      StorageError: it is there and cannot be read.
    """
    with open_checked(directory, manifest, name) as file:
        return file.read()


def read_json(directory: str, manifest: Manifest, name: str) -> Any:
    """Reads a JSON file of a dataset.

    Raises:
      FileNotFoundError: as `read`.
      ManifestError: it is not what was written, or no JSON.
      StorageError: it is there and cannot be read.
    """
    try:
        return json.loads(read(directory, manifest, name))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{files.join(directory, name)}: not JSON ({error}). {COPY_AGAIN}") from error


def open_checked(directory: str, manifest: Manifest, name: str) -> IO[bytes]:
    """Opens a file of a dataset for reading, after all of its bytes were compared with the manifest.

    A local file is compared through the descriptor that is given back, so that what is read is what was compared.

    Raises:
      FileNotFoundError: it is missing, or the manifest lists none of this name, whatever lies in the directory; says which.
      ManifestError: it is not what was written; names the file.
      StorageError: it is there and cannot be read.
    """
    path, info = files.join(directory, name), find(manifest, name)
    if info is None:
        raise FileNotFoundError(f"{path}: the manifest lists none of this name")
    try:
        if files.is_remote(path):
            data = files.read_bytes(path)
            _compare(path, info, len(data), _crc_of(io.BytesIO(data)))
            return io.BytesIO(data)
        file = open(path, "rb")  # noqa: SIM115  (given back open)
        try:
            status = os.fstat(file.fileno())
            sign = (path, info.crc32c, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if sign not in _known_sound:
                _compare(path, info, status.st_size, _crc_of(file) if status.st_size == info.bytes else None)
                if status.st_size >= _LARGE_BYTES:
                    _known_sound.add(sign)
                file.seek(0)
        except BaseException:
            file.close()
            raise
        return file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: cannot be read: missing, though the manifest lists it. {COPY_AGAIN}") from None
    except OSError as error:
        raise StorageError(describe_os_error(error, path)) from error


def check(directory: str, manifest: Manifest, name: str) -> None:
    """Compares a file that is there with the manifest; one that is missing is noticed by whoever reads it.

    Raises:
      ManifestError: it is not what was written.
      StorageError: it is there and cannot be read.
    """
    path, info = files.join(directory, name), find(manifest, name)
    if info is None:
        raise ManifestError(f"{path}: the manifest names it and does not list it, so nothing tells what it should hold. {COPY_AGAIN}")
    try:
        found = files.checksum(path)
    except OSError as error:
        raise StorageError(describe_os_error(error, path)) from error
    if found is not None:
        _compare(path, info, *found)


def _compare(path: str, info: FileInfo, size: int, crc: int | None) -> None:
    if size != info.bytes:
        raise ManifestError(f"{path}: {size:,} bytes, the manifest says {info.bytes:,}. {COPY_AGAIN}")
    if crc != info.crc32c:
        raise ManifestError(f"{path}: crc32c is {crc or 0:#010x}, the manifest says {info.crc32c:#010x}. {COPY_AGAIN}")


def _crc_of(file: IO[bytes]) -> int:
    import google_crc32c

    crc = 0
    while data := file.read(_CHUNK_BYTES):
        crc = google_crc32c.extend(crc, data)
    return int(crc)
