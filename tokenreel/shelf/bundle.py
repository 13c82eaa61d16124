"""Bundles: some files in one tar archive, whose bytes follow from what the files hold.

A bundle is a tar archive (POSIX 1988, "ustar") of regular files: first `bundle.json`, which lists the others with sizes and SHA-256, then
`files/NAME` in the order of the list, then two empty blocks. Its *digest* is the SHA-256 of `bundle.json`, so that it names the contents of
all files, and an unpacked bundle can be compared with it as well as a packed one. Nothing is compressed: what a bundle unpacks to is known
from its size.

There is one way to pack given files, and `unpack` takes nothing else: it makes the header that must come from the list, and compares the
bytes. So links, devices, other types, numbers in other notations, and whatever else tar readers understand need no rule of their own.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

from tokenreel.errors import ConfigError, ShelfError
from tokenreel.storage import files
from tokenreel.wording import one_line

FORMAT = "tokenreel.bundle/1"
MANIFEST, FOLDER = "bundle.json", "files"
MOST_FILES = 100_000
MOST_FILE_BYTES = 8**11 - 1  # what a header's eleven octal digits hold
_MOST_MANIFEST_BYTES = 64 << 20  # that of so many files with names as long as they may be
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_CHUNK_BYTES = 4 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A file of a bundle.

    Attributes:
      name: path within the bundle, with "/" between its parts.
      bytes: in it.
      sha256: of its contents, 64 hexadecimal digits.
    """

    name: str
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What a bundle holds: its files, sorted by the bytes of their names.

    Raises:
      ShelfError: a name, a size or a checksum is not what it may be; there are none, too many, or two of a name.
    """

    files: tuple[File, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.files) <= MOST_FILES:
            raise ShelfError(f"a bundle has 1 to {MOST_FILES:,} files, this one {len(self.files):,}. Push a part of the folder.")
        for file in self.files:
            if problem := _problem(file):
                raise ShelfError(f"{one_line(str(file.name)[:200])!r}: {problem}")
        names = [file.name.encode() for file in self.files]
        if any(before >= after for before, after in itertools.pairwise(names)):
            raise ShelfError("the files of a bundle are sorted by the bytes of their names, and no two have the same one")
        folders = {name[:end] for name in names for end in range(len(name)) if name[end : end + 1] == b"/"}
        if both := folders.intersection(names):
            raise ShelfError(f"{both.pop().decode()!r}: a file and a folder have this name")

    @functools.cached_property
    def manifest(self) -> bytes:
        """The bytes of `bundle.json`."""
        content = {"files": [dataclasses.asdict(file) for file in self.files], "format": FORMAT}
        return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"

    @functools.cached_property
    def digest(self) -> str:
        """Its name: "sha256:" and 64 hexadecimal digits."""
        return f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"

    @property
    def content_bytes(self) -> int:
        """Bytes in all of its files."""
        return sum(file.bytes for file in self.files)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the archive."""
        sizes = [len(self.manifest), *(file.bytes for file in self.files)]
        return sum(_BLOCK + size + -size % _BLOCK for size in sizes) + len(_END)


def is_digest(text: str) -> bool:
    """Says whether a text is the digest of a bundle, in form."""
    return _DIGEST.fullmatch(text) is not None


def parse(data: bytes) -> Bundle:
    """Reads a `bundle.json`.

    Raises:
      ShelfError: it is none, or not written as `Bundle.manifest` writes it.
    """
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ShelfError(f"a bundle of format {content['format']!r:.100}, this version reads {FORMAT!r}. Upgrade tokenreel.")
        bundle = Bundle(tuple(File(**entry) for entry in content["files"]))
        same = bundle.manifest == data
    except (ValueError, LookupError, TypeError, RecursionError, AttributeError) as error:
        raise ShelfError(f"{MANIFEST}: no list of files with sizes and checksums") from error
    if not same:
        raise ShelfError(f"{MANIFEST}: not written as this version writes it, so its digest is not that of what it lists")
    return bundle


def find(path: str) -> dict[str, str]:
    """Lists the files that a path means: their names in a bundle, with their own paths.

    Args:
      path: of a file or a folder, local or `gs://`. Links to files count as the files, as other programs read them.

    Raises:
      ConfigError: nothing is there, or something other than files and folders: nothing is left out in silence.
    """
    path = path.rstrip("/")
    if files.size(path) is not None:
        return {path.rpartition("/")[2]: path}
    found = dict(_walk(path))
    if not found:
        raise ConfigError(f"{path}: no file here. Give a file, or a folder that holds some.")
    return found


def _walk(path: str) -> Iterator[tuple[str, str]]:
    if files.is_remote(path):
        yield from ((name, files.join(path, name)) for name in files.list_files(path))
        return
    for folder, folders, names in os.walk(path):
        for name in [*(name for name in folders if os.path.islink(os.path.join(folder, name))), *names]:
            full = os.path.join(folder, name)
            if not os.path.isfile(full):
                raise ConfigError(f"{full}: no regular file (a link to a folder or to nothing, a pipe, a device). Leave it out.")
            yield os.path.relpath(full, path).replace(os.sep, "/"), full


def describe(paths: Mapping[str, str]) -> Bundle:
    """Reads files for their sizes and checksums.

    Args:
      paths: what `find` gives.

    Raises:
      ConfigError: a bundle cannot hold them: a name, a size, their number.
    """
    found = [File(name=name, bytes=size, sha256=checksum) for name, path in paths.items() for checksum, size in [_hash(_chunks(path))]]
    try:
        return Bundle(tuple(sorted(found, key=lambda file: file.name.encode("utf-8", "surrogateescape"))))
    except ShelfError as error:
        raise ConfigError(f"cannot be pushed: {error}") from error


def pack(bundle: Bundle, paths: Mapping[str, str]) -> Iterator[bytes]:
    """Yields the bytes of a bundle's archive, reading its files again.

    Args:
      bundle: what `describe` says of the paths.
      paths: of its files.

    Raises:
      ShelfError: a file is no longer what it was.
    """
    yield from (_header(MANIFEST, len(bundle.manifest)), bundle.manifest, bytes(-len(bundle.manifest) % _BLOCK))
    for file in bundle.files:
        yield _header(f"{FOLDER}/{file.name}", file.bytes)
        checksum, size = hashlib.sha256(), 0
        for chunk in _chunks(paths[file.name]):
            checksum.update(chunk)
            size += len(chunk)
            yield chunk
        if (size, checksum.hexdigest()) != (file.bytes, file.sha256):
            raise ShelfError(f"{paths[file.name]}: changed while it was pushed. Push it again when nobody writes there.")
        yield bytes(-size % _BLOCK)
    yield _END


def unpack(stream: IO[bytes], digest: str, folder: str, max_bytes: int) -> Bundle:
    """Writes the files of a bundle, comparing every byte on the way.

    Args:
      stream: the archive, from its start.
      digest: of the bundle that must come.
      folder: where `bundle.json` and `files/` are written; an empty one that nobody else knows. After an error it holds a part.
      max_bytes: of all files together; compared with the list before the first file is written.

    Raises:
      ShelfError: it is another bundle, or none; it would take more than `max_bytes`.
    """
    header = _read(stream, _BLOCK)
    size = int(header[124:135], 8) if re.fullmatch(rb"[0-7]{11}", header[124:135]) else -1
    if not 0 <= size <= _MOST_MANIFEST_BYTES or header != _header(MANIFEST, size):
        raise ShelfError(f"does not begin with {MANIFEST}: no bundle, or a damaged one")
    manifest = b"".join(_content(stream, size))
    if f"sha256:{hashlib.sha256(manifest).hexdigest()}" != digest:
        raise ShelfError(f"its {MANIFEST} is not that of {digest}: damaged, or another bundle")
    bundle = parse(manifest)
    if bundle.content_bytes > max_bytes:
        raise ShelfError(
            f"its {len(bundle.files):,} files take {bundle.content_bytes:,} bytes, the limit is {max_bytes:,} (--max-bytes, max_bytes=)"
        )
    _write(os.path.join(folder, MANIFEST), [manifest])
    for file in bundle.files:
        if _read(stream, _BLOCK) != _header(f"{FOLDER}/{file.name}", file.bytes):
            raise ShelfError(f"what must be the header of {file.name} is something else")
        path = os.path.join(folder, FOLDER, *file.name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if _write(path, _content(stream, file.bytes)) != file.sha256:
            raise ShelfError(f"{file.name}: its SHA-256 is not {file.sha256}")
    if _read(stream, len(_END)) != _END or stream.read(1):
        raise ShelfError("does not end where it must")
    return bundle


def is_whole(folder: str, digest: str) -> bool:
    """Says whether a folder holds an unpacked bundle with all its bytes, and nothing else; reads all of it."""
    try:
        manifest = files.read_bytes(os.path.join(folder, MANIFEST))
        if f"sha256:{hashlib.sha256(manifest).hexdigest()}" != digest:
            return False
        bundle = parse(manifest)
        wanted = {MANIFEST: len(manifest), **{f"{FOLDER}/{file.name}": file.bytes for file in bundle.files}}
        found = {name: os.lstat(os.path.join(folder, name)) for name in files.list_files(folder)}
        if {name: each.st_size for name, each in found.items() if stat.S_ISREG(each.st_mode)} != wanted or len(found) != len(wanted):
            return False
        return all(_hash(_chunks(os.path.join(folder, FOLDER, file.name)))[0] == file.sha256 for file in bundle.files)
    except (OSError, ShelfError):
        return False


def _problem(file: File) -> str | None:
    """Says what keeps a file from being in a bundle."""
    name = file.name
    if not isinstance(name, str) or not isinstance(file.sha256, str) or type(file.bytes) is not int:
        return "a file has a name, a size and a SHA-256"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is no UTF-8. Rename it"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name or one_line(name) != name:
        return "a name is a relative path without empty parts, '.', '..', backslashes and characters that cannot be seen. Rename it"
    if _fields(f"{FOLDER}/".encode() + encoded) is None or any(len(part.encode()) > 100 for part in parts):
        return "its name is too long: a name or folder has at most 100 bytes, its path at most some 240. Rename it"
    if not 0 <= file.bytes <= MOST_FILE_BYTES:
        return f"it has {file.bytes:,} bytes, a file in a bundle has at most {MOST_FILE_BYTES:,}. Split it"
    return None if _SHA256.fullmatch(file.sha256) else "its SHA-256 is no 64 hexadecimal digits"


def _fields(name: bytes) -> tuple[bytes, bytes] | None:
    """Splits a name into the header's fields "name" and "prefix", at the first "/" that leaves both short enough; None if none does."""
    if len(name) <= 100:
        return name, b""
    ends = [end for end in range(len(name)) if name[end : end + 1] == b"/" and end <= 155 and len(name) - end - 1 <= 100]
    return (name[ends[0] + 1 :], name[: ends[0]]) if ends else None


def _header(name: str, size: int) -> bytes:
    """Makes the header of a regular file: nobody's, of 1970, readable by all."""
    fields = _fields(name.encode())
    assert fields is not None, "names are checked before"
    short, prefix = fields
    owner = b"0000644\0" + b"0000000\0" * 2
    before = short.ljust(100, b"\0") + owner + b"%011o\0" % size + b"%011o\0" % 0
    after = b"0".ljust(101, b"\0") + b"ustar\0" + b"00" + bytes(64) + b"0000000\0" * 2 + prefix.ljust(167, b"\0")
    checksum = sum(before) + 8 * ord(" ") + sum(after)  # counted as if its own field held spaces
    return before + b"%06o\0 " % checksum + after


def _read(stream: IO[bytes], size: int) -> bytes:
    """Reads so many bytes.

    Raises:
      ShelfError: there are fewer.
    """
    parts, missing = [], size
    while missing:
        data = stream.read(missing)
        if not data:
            raise ShelfError("ends too early: the copy is not complete")
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def _content(stream: IO[bytes], size: int) -> Iterator[bytes]:
    """Yields the contents of a member chunk by chunk, and reads what fills its last block."""
    for start in range(0, size, _CHUNK_BYTES):
        yield _read(stream, min(_CHUNK_BYTES, size - start))
    if any(_read(stream, -size % _BLOCK)):
        raise ShelfError("what fills a block behind a file is not empty")


def _write(path: str, chunks: Iterable[bytes]) -> str:
    """Writes a new file; gives the SHA-256 of what was written. It is on the disk when this returns."""
    checksum = hashlib.sha256()
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
            checksum.update(chunk)
        file.flush()
        os.fsync(file.fileno())
    return checksum.hexdigest()


def _hash(chunks: Iterable[bytes]) -> tuple[str, int]:
    """Gives SHA-256 and number of bytes."""
    checksum, size = hashlib.sha256(), 0
    for chunk in chunks:
        checksum.update(chunk)
        size += len(chunk)
    return checksum.hexdigest(), size


def _chunks(path: str) -> Iterator[bytes]:
    with files.open_read(path) as file:
        while data := file.read(_CHUNK_BYTES):
            yield data
