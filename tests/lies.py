"""What a storage server may do to an answer, apart from refusing it: cut it, alter it, dawdle, hang up.

A `Lie` gets the whole answer, writes what it makes of it, and says whether the connection ends with it.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import time
from collections.abc import Callable
from typing import IO

Lie = Callable[[bytes, IO[bytes], socket.socket, bytes], bool]
_SLOW = 0.02  # seconds between the pieces of a slow answer


def _split(answer: bytes) -> tuple[bytes, bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


def _with_length(head: bytes, size: int) -> bytes:
    return re.sub(rb"(?i)(content-length: *)\d+", rb"\g<1>%d" % size, head)


def cut_headers(draw: random.Random) -> Lie:
    """Ends inside the headers: the library takes what it has for all, and the answer for an empty one."""

    def lie(answer: bytes, out: IO[bytes], connection: socket.socket, whole: bytes) -> bool:
        head, _ = _split(answer)
        first = head.index(b"\r\n") + 2
        out.write(head[: draw.randrange(first, len(head) - 2)])
        return True

    return lie


def short(draw: random.Random, *, honest: bool) -> Lie:
    """Ends inside the body; the length in the headers is that of the whole answer (`honest`), or of what comes."""

    def lie(answer: bytes, out: IO[bytes], connection: socket.socket, whole: bytes) -> bool:
        head, body = _split(answer)
        kept = body[: draw.randrange(len(body))] if body else body
        out.write((head if honest else _with_length(head, len(kept))) + kept)
        return True

    return lie


def flip(draw: random.Random) -> Lie:
    """Flips a bit of the body."""

    def lie(answer: bytes, out: IO[bytes], connection: socket.socket, whole: bytes) -> bool:
        head, body = _split(answer)
        altered = bytearray(body)
        if altered:
            altered[draw.randrange(len(altered))] ^= 1 << draw.randrange(8)
        out.write(head + altered)
        return False

    return lie


def other_range(draw: random.Random, *, twice: bool) -> Lie:
    """Sends as many bytes from another place of the object; or the first half of what was asked for, twice."""

    def lie(answer: bytes, out: IO[bytes], connection: socket.socket, whole: bytes) -> bool:
        head, body = _split(answer)
        half = len(body) // 2
        at = draw.randrange(max(1, len(whole) - len(body) + 1))
        out.write(head + (body[:half] + body[:half] + body[2 * half :] if twice else whole[at : at + len(body)].ljust(len(body), b"\0")))
        return False

    return lie


def stale(earlier: Callable[[bytes], bytes]) -> Lie:
    """Sends what the object held before."""

    def lie(answer: bytes, out: IO[bytes], connection: socket.socket, whole: bytes) -> bool:
        head, body = _split(answer)
        out.write(head + earlier(whole)[: len(body)].ljust(len(body), b"\n"))
        return False

    return lie


def slow(draw: random.Random) -> Lie:
    """Sends everything, in pieces."""

    def lie(answer: bytes, out: IO[bytes], connection: socket.socket, whole: bytes) -> bool:
        at = draw.randrange(len(answer))
        for piece in (answer[:at], answer[at:]):
            out.write(piece)
            out.flush()
            time.sleep(_SLOW)
        return False

    return lie


def reset(draw: random.Random) -> Lie:
    """Sends a part, and resets the connection."""

    def lie(answer: bytes, out: IO[bytes], connection: socket.socket, whole: bytes) -> bool:
        out.write(answer[: draw.randrange(len(answer))])
        out.flush()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing sends RST
        return True

    return lie
