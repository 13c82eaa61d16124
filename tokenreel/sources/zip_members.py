"""The members of a zip archive, read by its directory and one after another: nothing is unpacked to disk.

Tested in tests/tokenreel/sources/test_archives.py.
"""

from __future__ import annotations

import io
import itertools
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from tokenreel.sources.members import Member
from tokenreel.storage.files import Readable

_MOST_DIRECTORY = 32 << 20  # bytes of the directory, which is held: some 300,000 members
_READ_BYTES = 1 << 18
_LOCAL_HEADER = 30  # bytes before the name of a member
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # what Python unpacks in bounded memory
_NAMES = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd", 99: "AES"}


class _Bounded:
    """A file of which nobody reads very much at once: the directory of an archive claims how long it is."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.seek = stream.seek

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.seek(0, io.SEEK_CUR)

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory takes {size:,} bytes, more than is held")
        return self._stream.read(size)


def read(stream: Readable) -> Iterator[Member | Exception]:
    """Yields the members as they lie in the file; only an exception where the archive as a whole cannot be read."""
    try:
        archive = zipfile.ZipFile(_Bounded(stream))  # has what it uses
        found = sorted(archive.infolist(), key=lambda member: member.header_offset)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        yield error
        return
    for member, after in itertools.pairwise(found):
        if member.header_offset + _LOCAL_HEADER + member.compress_size > after.header_offset:
            yield zipfile.BadZipFile(f"the members {member.filename!r} and {after.filename!r} overlap, as those of a bomb do")
            return
    for member in found:
        if not member.filename.endswith("/"):  # `is_dir` stumbles over a name of no letter
            refused = _refusal(member)
            yield Member(member.filename, member.compress_size, iter(()) if refused else _bytes(archive, member), refused)


def _refusal(member: zipfile.ZipInfo) -> str:
    mode = member.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "a device or a pipe"
    if member.flag_bits & 0x41:
        return "encrypted"
    if member.compress_type not in _METHODS:
        return f"compressed with {_NAMES.get(member.compress_type, f'method {member.compress_type}')}, of which only Deflate is read"
    return ""


def _bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes | Exception]:
    """Yields what a member unpacks to, and last an exception where its bytes or its checksum are wrong."""
    try:
        with archive.open(member) as opened:
            while data := opened.read(_READ_BYTES):
                yield data
    except _errors() as error:
        yield error


def _errors() -> tuple[Any, ...]:
    return zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError
