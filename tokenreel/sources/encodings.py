"""Text in other encodings than UTF-8: decoded as a stream, and recognised where nobody said so, for messages that name the likely one."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterator

import numpy as np

from tokenreel.sources.values import utf8_problem

_SAMPLE = 4096  # bytes that a guess looks at
_MARKED = 0xDC00  # and the value of a byte that could not be decoded: half of a surrogate pair, which no text holds
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# In the order in which equals are preferred. Two bytes a character: with the first bytes of the characters that are common.
_SINGLE = ("cp1252", "cp1250", "cp1251", "koi8-r", "cp1253", "cp1256", "mac-roman", "cp866", "cp437")
_DOUBLE = {
    "shift_jis": range(0x88, 0x98),
    "euc_jp": range(0xB0, 0xD0),
    "euc_kr": range(0xB0, 0xC9),
    "gb18030": range(0xB0, 0xD8),
    "big5": range(0xA4, 0xC7),
}


def decode(chunks: Iterator[bytes | Exception], encoding: str) -> Iterator[bytes | Exception]:
    """Turns the bytes of a file into UTF-8; an exception is passed on.

    What cannot be decoded becomes bytes that are no UTF-8, so that it costs its document and no other; `problem` says what it was.
    """
    decoder = codecs.getincrementaldecoder(encoding)(_ERRORS)
    for chunk in chunks:
        if isinstance(chunk, Exception):
            yield chunk
            return
        text = decoder.decode(chunk)
        if text:
            yield text.encode("utf-8", "surrogatepass")
    if text := decoder.decode(b"", True):
        yield text.encode("utf-8", "surrogatepass")


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(_MARKED + byte) for byte in error.object[error.start : error.end]), error.end


_ERRORS = "tokenreel-mark"
codecs.register_error(_ERRORS, _mark)


def problem(data: bytes, encoding: str) -> str | None:
    """Says what keeps a document from being text of an encoding, and what encoding it has instead, if that can be told.

    Args:
      data: the document, as `decode` gives it where the encoding is not UTF-8.
      encoding: the one that the source names.
    """
    told = utf8_problem(data)
    if told is None:
        return None
    if encoding != "utf-8":
        text = data.decode("utf-8", "surrogatepass")
        at = next(at for at, character in enumerate(text) if _MARKED <= ord(character) < _MARKED + 256)
        return f"not {encoding}: byte 0x{ord(text[at]) - _MARKED:02x} behind {at:,} characters of the document"
    likely = guess(data)
    return f"{told}; it looks like {likely}: set sources.encoding: {likely}" if likely else told


def wide(head: bytes) -> str | None:
    r"""Recognises UTF-16 and UTF-32 from the first bytes of a file: a byte order mark, or NULs where the halves of Latin letters are.

    >>> wide("line\n".encode("utf-16")), wide("line\n".encode("utf-16-be")), wide(b"line\n\0")
    ('utf-16', 'utf-16-be', None)
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if b"\0" not in head:
        return None
    zero = np.frombuffer(head[: len(head) // 4 * 4], dtype=np.uint8).reshape(-1, 4) == 0
    if not len(zero):
        return None
    first, second, third, fourth = zero.mean(axis=0).tolist()
    if min(third, fourth) > 0.9 and first < 0.05:
        return "utf-32-le"
    if min(first, second) > 0.9 and fourth < 0.05:
        return "utf-32-be"
    even, odd = (first + third) / 2, (second + fourth) / 2
    for name, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if (high >= 0.5 and low < 0.05) or (high >= 0.05 and low == 0 and len(zero) >= 64):
            return name
    return None


def guess(data: bytes) -> str | None:
    """Guesses the encoding of text that is not UTF-8 from its beginning; None where none makes words of it.

    >>> guess("Où est la bibliothèque ?".encode("cp1252")), guess("Привет, как дела?".encode("koi8-r"))
    ('cp1252', 'koi8-r')
    """
    data = data[:_SAMPLE]
    if (name := wide(data)) is not None:
        return name
    scores = {name: _score_double(data, name) for name in _DOUBLE} | {name: _score_single(data, name) for name in _SINGLE}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0.25 else None


def _decoded(data: bytes, encoding: str) -> str | None:
    """Decodes bytes, of which the last character may be cut."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return None


def _score_double(data: bytes, encoding: str) -> float:
    """Tells how much a text looks like one of two bytes a character: the share of common ones among its characters beyond ASCII."""
    text = _decoded(data, encoding)
    if text is None:
        return -1.0
    characters = [character for character in text if character > "\x7f"]
    common = 0
    for character in characters:
        kana = "\u3040" <= character <= "\u30ff" and encoding in ("shift_jis", "euc_jp")
        mark = character in "、。，．！？「」『』（）《》：；・ー…　“”"
        common += kana or mark or (character.isalpha() and len(code := character.encode(encoding)) == 2 and code[0] in _DOUBLE[encoding])
    # Japanese has hiragana and Korean hangul, which tell them from Chinese.
    own = {"shift_jis": "\u3040\u309f", "euc_jp": "\u3040\u309f", "euc_kr": "\uac00\ud7a3"}.get(encoding)
    typical = own is None or any(own[0] <= character <= own[1] for character in characters)
    return common / max(1, len(characters)) - (0.05 if typical else 0.5)


def _score_single(data: bytes, encoding: str) -> float:
    """Tells how much a text looks like one of a byte a character: the mean over its characters beyond ASCII, at most 1 each."""
    text = _decoded(data, encoding)
    if text is None:
        return -1.0
    scores = [_score(before, here, behind) for before, here, behind in zip(f" {text}", text, f"{text[1:]} ", strict=False) if here > "\x7f"]
    return sum(scores) / max(1, len(scores))


def _score(before: str, here: str, behind: str) -> float:
    """Tells how well a character beyond ASCII stands between its neighbours."""
    if not here.isalpha():
        return 0.9 if here in "‘’“”„–—…«»€£°¿¡§\xa0№" else -1.0
    latin = unicodedata.name(here, "").startswith("LATIN")
    beside = [other for other in (before, behind) if other.isalpha()]
    if any((unicodedata.name(other, "").startswith("LATIN")) != latin for other in beside):
        return -1.0  # a word of two scripts
    if (here.isupper() and before.islower()) or (here.islower() and behind.isupper()):
        return -1.0
    if latin:  # whose words are of ASCII for the most part
        return 0.3 if any(other > "\x7f" for other in beside) or here in "ªº" or not beside else 1.0
    if (here.isupper() and before.isalpha()) or (here == "ς" and behind.isalpha()):
        return -0.2
    return 1.0 if beside else 0.5
