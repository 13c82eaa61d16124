"""The members of a tar archive, as a stream: nothing is unpacked to disk, and no more is held than a header.

Python's `tarfile` reads the headers. Walking from one to the next is done here: `tarfile` remembers every member, takes a damaged header
for the archive's end, and holds whatever size of attributes a header claims.

Tested in tests/tokenreel/sources/test_archives.py.
"""

from __future__ import annotations

import tarfile
from collections.abc import Generator, Iterator

from tokenreel.sources.members import Member
from tokenreel.sources.pulled import Pulled

_BLOCK = tarfile.BLOCKSIZE
_MOST_ATTRIBUTES = 1 << 20  # bytes of what a header says about the next member, or about all
_ATTRIBUTES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_REFUSED = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a link to another member",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a file with holes",
    b"M": "a part of a file that begins in another volume",
}


class _DamagedError(Exception):
    """Nothing tells where the next member begins."""


def read(chunks: Iterator[bytes | Exception]) -> Iterator[Member | Exception]:
    """Yields the members in their order, and last an exception where the archive is damaged or cut short.

    The bytes of a member must be taken before the next one is asked for; what is left of them is passed over.

    Args:
      chunks: the bytes of the archive; last an exception where they cannot be read to the end.
    """
    stream = Pulled(chunks)
    try:
        yield from _members(stream)
    except (_DamagedError, ValueError, EOFError) as error:
        yield stream.broken or error


def _members(stream: Pulled) -> Iterator[Member]:
    shared: dict[str, str] = {}
    own: dict[str, str] = {}
    while True:
        begin = stream.position
        header = stream.read(_BLOCK)
        if len(header) < _BLOCK:
            raise _DamagedError(f"it ends after {stream.position:,} bytes, without the mark of its end")
        if not header.strip(b"\0"):
            if begin == 0:
                raise _DamagedError("it holds no member")
            break
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _DamagedError(f"at byte {begin:,} is no header of a member ({error})") from None
        if member.size < 0:
            raise _DamagedError(f"the header at byte {begin:,} claims {member.size:,} bytes")
        if member.type in (*_ATTRIBUTES, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"V"):
            data = _attributes(stream, member, begin)
            if member.type == tarfile.GNUTYPE_LONGNAME:
                own["path"] = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif member.type in _ATTRIBUTES:
                (shared if member.type == tarfile.XGLTYPE else own).update(_pax(data, begin))
            continue
        if not (yield from _member(stream, member, header, {**shared, **own})):
            return
        own = {}
    _check_end(stream)


def _member(stream: Pulled, member: tarfile.TarInfo, header: bytes, told: dict[str, str]) -> Generator[Member, None, bool]:
    """Yields a member, unless it is a folder, and passes over its bytes: False where whoever read them met the archive's end in them."""
    size = int(told.get("size", member.size))
    if size < 0:
        raise _DamagedError(f"the member {member.name!r} claims {size:,} bytes")
    kind = _REFUSED.get(member.type, "" if member.type in (*_FILES, tarfile.DIRTYPE) else f"of the unknown type {member.type!r}")
    if any(name.startswith("GNU.sparse.") for name in told):
        kind = _REFUSED[tarfile.GNUTYPE_SPARSE]
    more = member.type == tarfile.GNUTYPE_SPARSE and header[482]
    while more:  # where the holes are
        block = stream.read(_BLOCK)
        more = len(block) == _BLOCK and block[504]
    if member.type in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        size = 0 if member.type != tarfile.LNKTYPE else size  # a link may come with the bytes of what it links to
    begin, passed = stream.position, stream.pass_on(size)
    name = told.get("path", member.name)
    if member.type != tarfile.DIRTYPE and not name.endswith("/"):  # old archives have no other sign of a folder
        yield Member(name, size, passed, kind)
    for data in passed:
        if isinstance(data, Exception):
            raise _DamagedError(str(data))
    whole = stream.position == begin + size
    stream.read(-size % _BLOCK)
    return whole


def _attributes(stream: Pulled, member: tarfile.TarInfo, begin: int) -> bytes:
    if member.size > _MOST_ATTRIBUTES:
        raise _DamagedError(f"the header at byte {begin:,} claims {member.size:,} bytes of attributes")
    data = stream.read(member.size + -member.size % _BLOCK)[: member.size]
    if len(data) < member.size:
        raise _DamagedError(f"it ends after {stream.position:,} bytes, inside the attributes of a member")
    return data


def _pax(data: bytes, begin: int) -> dict[str, str]:
    """Reads the records of an extended header: `length name=value`, each with a line end."""
    found = {}
    while data.strip(b"\0"):
        number, _, _ = data.partition(b" ")
        if not number.isdigit() or not len(number) + 2 < int(number[:9]) <= len(data):
            raise _DamagedError(f"the attributes at byte {begin:,} are damaged")
        name, separator, value = data[len(number) + 1 : int(number) - 1].partition(b"=")
        if not separator:
            raise _DamagedError(f"the attributes at byte {begin:,} are damaged")
        found[name.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        data = data[int(number) :]
    return found


def _check_end(stream: Pulled) -> None:
    """Reads on to the end of the stream, so that damage of what it is compressed with is found too."""
    while True:
        begin = stream.position
        data = stream.read(1 << 18)
        if data.strip(b"\0"):
            at = begin + len(data) - len(data.lstrip(b"\0"))
            raise _DamagedError(f"something lies behind its end, from byte {at:,} on, as if it were several archives in one")
        if not data:
            break
    if stream.broken is not None:
        raise _DamagedError
