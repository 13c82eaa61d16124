"""What a file is, told by its first bytes: compressed, an archive of several files, a table, or a stand-in for the data.

The ending of a name is a hint and no more. Each magic number is checked together with what must follow it, so that a text which happens to
begin with the letters of one is no such file. Plain text has no magic number: which format of text a file holds is for the config to say.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import posixpath
import re
import struct
import zlib
from collections.abc import Callable
from typing import Literal

from tokenreel.format import tfrecord

HEAD_BYTES = 4096  # of a file, or of what it unpacks to, are enough to tell
SHORTEST = 16  # bytes: what is shorter is no archive and no table, but may be the beginning of one that was cut

_OCTAL = re.compile(rb"[ \0]*[0-7]+[ \0]+\Z|[ \0]*[0-7]{8}\Z")
_CHECKSUM = slice(148, 156)  # of a tar header of 512 bytes, and taken for blanks when it is summed
_CONTROL = re.compile(rb"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # a frame of Zstandard or LZ4 that holds no data

Group = Literal["compression", "archive", "table", "records", "stand-in", "other"]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
      name: short, as code names it.
      title: as messages name it, with its article.
      group: `compression` of one file, `archive` of documents or files, `table`, `records`, `stand-in` for data that is elsewhere, `other`.
      matches: tells from the first `HEAD_BYTES` bytes of a file whether it is one.
      way_out: what to do with a file that is not read, or with a source of another format; "" for compression, which any source may have.
    """

    name: str
    title: str
    group: Group
    matches: Callable[[bytes], bool]
    way_out: str = ""


def _starts(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magics)


def _matches(pattern: bytes) -> Callable[[bytes], bool]:
    expression = re.compile(pattern, re.DOTALL)
    return lambda head: expression.match(head) is not None


def _begins_binary(magic: bytes) -> Callable[[bytes], bool]:
    """Tells a magic word of letters, behind which no text follows, from a text that begins with that word."""
    return lambda head: head.startswith(magic) and not looks_like_text(head[:64])


def _is_xz(head: bytes) -> bool:
    return head.startswith(b"\xfd7zXZ\0") and head[8:12] == struct.pack("<I", zlib.crc32(head[6:8]))


def _is_lzma(head: bytes) -> bool:
    """Checks a header without a magic number as `xz` does: properties, a usual dictionary, and a size that is unknown or below 256 GB."""
    if len(head) < 14 or head[0] >= 225 or head[13] != 0:  # the first byte of a range coder is 0
        return False
    dictionary, size = struct.unpack_from("<IQ", head, 1)
    lowest = dictionary & -dictionary
    usual = (dictionary >= 1 << 12 and dictionary in (lowest, 3 * lowest)) or dictionary == 0xFFFFFFFF
    return bool(usual and (size == 0xFFFFFFFFFFFFFFFF or 0 < size < 1 << 38))


def _is_zstd(head: bytes) -> bool:
    return _behind_skippable(head).startswith(b"\x28\xb5\x2f\xfd") or (_SKIPPABLE.match(head) is not None and not _is_lz4(head))


def _is_lz4(head: bytes) -> bool:
    frame = _behind_skippable(head)
    return frame.startswith(b"\x04\x22\x4d\x18") and len(frame) > 5 and frame[4] >> 6 == 1 and frame[5] & 0x8F == 0


def _behind_skippable(head: bytes) -> bytes:
    """Passes over frames without data, which Zstandard and LZ4 share, as far as they end within the head."""
    while _SKIPPABLE.match(head) and len(head) >= 8:
        head = head[8 + int.from_bytes(head[4:8], "little") :]
    return head


def _is_tar(head: bytes) -> bool:
    """Checks the sum of a tar header, which archives from before POSIX have too; those have no `ustar`."""
    header = head[:512]
    if len(header) < 512 or header[0] == 0 or not _OCTAL.match(header[_CHECKSUM]):
        return False
    others = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    signed = sum(byte - 256 if byte > 127 else byte for byte in others)
    return int(header[_CHECKSUM].strip(b" \0"), 8) in (sum(others), signed) and b"\0" in header


def _is_arrow_stream(head: bytes) -> bool:
    if not head.startswith(b"\xff\xff\xff\xff") or len(head) < 12:
        return False
    length, root = struct.unpack_from("<iI", head, 4)
    return bool(0 < length < 1 << 28 and 0 < root < length)


def _is_tfrecord(head: bytes) -> bool:
    if len(head) < tfrecord.HEADER_BYTES:
        return False
    length, crc = struct.unpack_from("<QI", head)
    return bool(length < 1 << 40 and crc == tfrecord.masked_crc32c(head[:8]))


_COMPRESSIONS = (
    Kind("gzip", "a gzip archive", "compression", lambda head: head.startswith(b"\x1f\x8b\x08") and len(head) > 3 and head[3] < 0x20),
    Kind("bzip2", "a bzip2 archive", "compression", _matches(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")),
    Kind("xz", "an xz archive", "compression", _is_xz),
    Kind("zstd", "a Zstandard archive", "compression", _is_zstd),
    Kind("lz4", "an LZ4 archive", "compression", _is_lz4),
    Kind("lzma", "an LZMA archive", "compression", _is_lzma),
)

_UNREAD_COMPRESSIONS = (
    Kind("lzip", "an lzip archive", "other", _starts(b"LZIP\x01"), "Decompress it with `lzip -d`"),
    Kind("compress", "a file of `compress`", "other", _matches(rb"\x1f\x9d[\x80-\x90]"), "Decompress it with `gzip -d`"),
    Kind("snappy", "a Snappy archive", "other", _starts(b"\xff\x06\x00\x00sNaPpY"), "Decompress it with `snzip -d`"),
    Kind("lzop", "an lzop archive", "other", _starts(b"\x89LZO\x00\r\n\x1a\n"), "Decompress it with `lzop -d`"),
    Kind("lz4-legacy", "an LZ4 archive of the old kind", "other", _starts(b"\x02\x21\x4c\x18"), "Decompress it with `lz4 -d`"),
)

_ARCHIVES = (
    Kind("tar", "a tar archive", "archive", _is_tar, "Unpack it with `tar -xf`"),
    Kind(
        "office",
        "an Office document, an e-book or the like",
        "other",
        _matches(rb"PK\x03\x04.{26}(\[Content_Types\]\.xml|mimetype|_rels/\.rels|word/|xl/|ppt/)"),
        "Convert it to text",
    ),
    Kind(
        "numpy-zip",
        "an archive of NumPy or PyTorch",
        "other",
        _matches(rb"PK\x03\x04.{26}[^\0]{0,200}(\.npy|/data\.pkl)"),
        "Write what it holds as Parquet",
    ),
    Kind("zip", "a zip archive", "archive", _starts(b"PK\x03\x04", b"PK\x05\x06\0\0", b"PK\x07\x08PK\x03\x04"), "Unpack it with `unzip`"),
    Kind("warc", "a WARC file", "archive", _matches(rb"WARC/\d\.\d+\r?\n"), "Set the source's format to warc"),
    Kind("7z", "a 7-Zip archive", "other", _starts(b"7z\xbc\xaf\x27\x1c"), "Unpack it with `7z x`"),
    Kind("rar", "a RAR archive", "other", _starts(b"Rar!\x1a\x07"), "Unpack it with `unrar x`"),
    Kind("ar", "an archive of `ar`", "other", _starts(b"!<arch>\n"), "Unpack it with `ar x`"),
)

_TABLES = (
    Kind("parquet", "a Parquet file", "table", _begins_binary(b"PAR1"), "Set the source's format to parquet"),
    Kind(
        "encrypted-parquet",
        "an encrypted Parquet file",
        "other",
        _begins_binary(b"PARE"),
        "No keys can be given here: write it again without encryption",
    ),
    Kind("arrow", "an Arrow file", "table", _starts(b"ARROW1\0\0"), "Set the source's format to arrow"),
    Kind("arrow-stream", "an Arrow stream", "table", _is_arrow_stream, "Set the source's format to arrow"),
    Kind(
        "feather1",
        "a Feather file of version 1",
        "other",
        _starts(b"FEA1\0\0\0\0"),
        "Write it as version 2: `pyarrow.feather.write_feather(pyarrow.feather.read_table(OLD), NEW)`",
    ),
    Kind(
        "orc",
        "an ORC file",
        "other",
        _begins_binary(b"ORC"),
        "Write it as Parquet: `pyarrow.parquet.write_table(pyarrow.orc.read_table(OLD), NEW)`",
    ),
    Kind("avro", "an Avro file", "other", _starts(b"Obj\x01"), "Write it as Parquet or JSON lines"),
    Kind("tfrecord", "a TFRecord file", "records", _is_tfrecord, "Set the source's format to tfrecord"),
    Kind(
        "riegeli",
        "an ArrayRecord or Riegeli file",
        "other",
        _starts(b"\x83\xaf\x70\xd1\x0d\x88\x4a\x3f" + bytes(8) + b"\x40"),
        "Write it as TFRecord",
    ),
    Kind("sqlite", "an SQLite database", "other", _starts(b"SQLite format 3\0"), "Export its table as CSV or JSON lines"),
    Kind("duckdb", "a DuckDB database", "other", lambda head: head[8:12] == b"DUCK" and b"\0" in head[:64], "Export its table as Parquet"),
    Kind("hdf5", "an HDF5 file", "other", _starts(b"\x89HDF\r\n\x1a\n"), "Write it as Parquet"),
    Kind("numpy", "a NumPy array", "other", _matches(rb"\x93NUMPY[\x01-\x03]\x00"), "Write it as Parquet"),
    Kind("pickle", "a pickle of Python", "other", _matches(rb"\x80[\x04\x05]\x95.{6}\x00\x00"), "Write it as Parquet or JSON lines"),
)

_STAND_INS = (
    Kind(
        "git-lfs",
        "a pointer of Git LFS in place of the data",
        "stand-in",
        _matches(rb"version https://git-lfs\.github\.com/spec/v1\r?\n"),
        "Fetch the data with `git lfs pull`",
    ),
    Kind(
        "git-annex",
        "a pointer of git-annex in place of the data",
        "stand-in",
        _matches(rb"/annex/objects/[A-Z0-9]+(-[a-z]\d+)*--[^\n]{1,400}\n?\Z"),
        "Fetch the data with `git annex get`",
    ),
    Kind(
        "xet",
        "a pointer of Xet in place of the data",
        "stand-in",
        _matches(rb"# xet version [\d.]+\r?\n"),
        "Fetch the data with `hf download`",
    ),
)

_OTHERS = (
    Kind("pdf", "a PDF document", "other", _matches(rb"%PDF-\d\.\d"), "Convert it to text, for example with `pdftotext`"),
    Kind("ole", "an old Office document", "other", _starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "Convert it to text"),
    Kind(
        "image",
        "an image",
        "other",
        _matches(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xc0-\xfe]|GIF8[79]a.{4}|RIFF.{4}WEBP"),
        "Leave it out of the source",
    ),
    Kind("program", "a program", "other", _matches(rb"\x7fELF[\x01\x02][\x01\x02]"), "Leave it out of the source"),
)

KINDS = (*_COMPRESSIONS, *_UNREAD_COMPRESSIONS, *_ARCHIVES, *_TABLES, *_STAND_INS, *_OTHERS)
BY_NAME = {kind.name: kind for kind in KINDS}

# What the ending of a name says about compression; of names in any case. Those in `_PACKED` are a tar archive inside.
_ENDINGS = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".bgz": "gzip",
    ".bz2": "bzip2",
    ".bz": "bzip2",
    ".bzip2": "bzip2",
    ".xz": "xz",
    ".lzma": "lzma",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".lz4": "lz4",
}
_PACKED = {".tgz": "gzip", ".taz": "gzip", ".tbz": "bzip2", ".tbz2": "bzip2", ".txz": "xz", ".tlz": "lzma", ".tzst": "zstd"}


@functools.lru_cache(16)  # who opens a file asks several times
def recognise(head: bytes) -> Kind | None:
    r"""Tells what a file is from its first `HEAD_BYTES` bytes, or all it has; None for text, and for what nobody knows.

    >>> recognise(b"PK\x05\x06" + bytes(18)).title, recognise(b"PK is a text")
    ('a zip archive', None)
    """
    return next((kind for kind in KINDS if kind.matches(head)), None)


def looks_like_text(head: bytes) -> bool:
    r"""Tells whether bytes can be text in some encoding: they begin with a byte order mark, or hold no control character but white space.

    >>> looks_like_text("naïve\r\n".encode("latin-1")), looks_like_text(b"PAR1\x15\x04")
    (True, False)
    """
    return head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")) or not _CONTROL.search(head)


def is_text(head: bytes) -> bool:
    """Tells whether bytes are UTF-8 without control characters but white space; the last character may be cut.

    >>> is_text("naïve".encode()[:3]), is_text("naïve".encode("latin-1")), is_text(b"")
    (True, False, False)
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return bool(head) and not _CONTROL.search(head)


def named(name: str) -> Kind | None:
    """Tells how a file is compressed by its name.

    >>> named("a/b.JSONL.GZ").name, named("a.tar.zstd").name, named("a.txt")
    ('gzip', 'zstd', None)
    """
    ending = posixpath.splitext(name)[1].lower()
    found = _ENDINGS.get(ending) or _PACKED.get(ending)
    return BY_NAME[found] if found else None


def bare(name: str) -> str:
    """Takes the endings that tell of compression off a name.

    >>> bare("a.jsonl.GZ"), bare("b.tgz")
    ('a.jsonl', 'b.tar')
    """
    stem, ending = posixpath.splitext(name)
    if ending.lower() in _PACKED:
        return f"{stem}.tar"
    return bare(stem) if ending.lower() in _ENDINGS else name
