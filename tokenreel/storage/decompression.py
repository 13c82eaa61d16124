"""Compressed files as streams of small chunks: a few bytes that unpack to terabytes take no more memory than any others."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

_CHUNK_BYTES = 1 << 20  # of its content, at a time

# The Zstandard library has no limit for its output. A block of 4 bytes holds at most 128 KiB, so this much input holds at most 32 MiB.
_ZSTD_READ_BYTES = 1 << 10


class TooLargeError(Exception):
    """What unpacks to more than anybody could mean it to; what came before is sound."""


def decompress(chunks: Iterator[bytes | Exception], compression: str) -> Iterator[bytes | Exception]:
    """Yields decompressed chunks and, last, the exception if the archive is cut short or broken.

    Args:
      chunks: one or more compressed members end to end, in pieces of any size; last an exception where they cannot be read to the end.
      compression: `gzip`, `bzip2`, `xz`, `lzma`, `zstd` or `lz4`.
    """
    fresh = _MEMBERS[compression]
    member: Any = None
    began = False
    for data in chunks:
        if isinstance(data, Exception):
            yield data
            return
        while data:
            if member is None:
                data = data.lstrip(b"\0")  # padding after a member: xz allows it between two, tar and tape leave it after the last
                if not data:
                    break
                member, began = fresh(), True
            try:
                yield from member.feed(data)
            except Exception as error:  # each library has exceptions of its own, zstandard's is no ValueError
                yield error
                return
            data = b""
            if member.eof:
                data, member = member.unused, None
    if member is not None:
        yield EOFError("the file ends before its compressed data does")
    elif not began:
        yield EOFError("the file holds no compressed data, as if it had been lost")


class _Gzip:
    """The decompressor of zlib, which hands back what it has not used yet."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(31)  # the largest window, and a gzip header before it

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if chunk := self._decompressor.decompress(data, _CHUNK_BYTES):
                yield chunk
            data = self._decompressor.unconsumed_tail
        while not self.eof and (chunk := self._decompressor.decompress(b"", _CHUNK_BYTES)):
            yield chunk

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unused(self) -> bytes:
        return self._decompressor.unused_data


class _Bounded:
    """The decompressors of bz2, lzma and lz4, which keep what they have not used yet."""

    def __init__(self, decompressor: Any) -> None:
        self._decompressor = decompressor

    def feed(self, data: bytes) -> Iterator[bytes]:
        if chunk := self._decompressor.decompress(data, _CHUNK_BYTES):
            yield chunk
        while not self._decompressor.eof and not self._decompressor.needs_input:
            if chunk := self._decompressor.decompress(b"", _CHUNK_BYTES):
                yield chunk

    @property
    def eof(self) -> bool:
        return bool(self._decompressor.eof)

    @property
    def unused(self) -> bytes:
        return bytes(self._decompressor.unused_data or b"")


class _Zstd:
    """The decompressor of zstandard, which unpacks all it is given: it is given little at a time."""

    def __init__(self) -> None:
        import zstandard

        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
        self.unused = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_READ_BYTES):
            if chunk := self._decompressor.decompress(data[start : start + _ZSTD_READ_BYTES]):
                yield chunk
            if self.eof:
                self.unused = self._decompressor.unused_data + data[start + _ZSTD_READ_BYTES :]
                return

    @property
    def eof(self) -> bool:
        return bool(self._decompressor.eof)


def _lz4() -> Any:
    from lz4.frame import LZ4FrameDecompressor

    return _Bounded(LZ4FrameDecompressor())


_MEMBERS: dict[str, Callable[[], Any]] = {
    "gzip": _Gzip,
    "bzip2": lambda: _Bounded(bz2.BZ2Decompressor()),
    "xz": lambda: _Bounded(lzma.LZMADecompressor(lzma.FORMAT_XZ)),
    "lzma": lambda: _Bounded(lzma.LZMADecompressor(lzma.FORMAT_ALONE)),
    "zstd": _Zstd,
    "lz4": _lz4,
}
