"""How things are written for people: numbers of them, and texts that others wrote."""

from __future__ import annotations

import difflib
import json
import re
import reprlib
from collections.abc import Callable, Iterable, Sequence

# What a terminal obeys rather than shows, and what it shows in another place than it stands: C0, DEL, C1; the marks, embeddings, overrides
# and isolates of the bidirectional algorithm; separators of lines; tags, which are invisible; halves of surrogate pairs, which are no text.
_UNSEEN = r"\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f"
_IN_TEXT = re.compile(rf"[\x00-\x08{_UNSEEN}]")  # tab and newline stay
_IN_LINE = re.compile(rf"[\x00-\x0a{_UNSEEN}]")
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 6, 200, 200, 60


def plural(count: int, noun: str) -> str:
    """Writes a number of things, of which one is no several.

    >>> plural(1, "shard"), plural(1_024, "shard")
    ('1 shard', '1,024 shards')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def amount(size: float) -> str:
    """Writes a number of bytes, in the unit that leaves the fewest digits.

    >>> amount(999), amount(4_096), amount(345.65e12)
    ('999 B', '4.1 KB', '345.6 TB')
    """
    power = next((power for power in range(4) if size < 1000 ** (power + 1)), 4)
    unit = ("B", "KB", "MB", "GB", "TB")[power]
    return f"{size / 1000**power:,.{1 if power else 0}f} {unit}"


def first_of(names: Sequence[str], most: int, count: int | None = None) -> str:
    """Lists the first of some names, and says how many more there are; `count` where the names are not all.

    >>> first_of(["a", "b", "c"], 2), first_of(["a"], 2), first_of(["a", "b"], 2, 1_500)
    ('a, b and 1 more', 'a', 'a, b and 1,498 more')
    """
    shown = names[:most]
    more = (len(names) if count is None else count) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, most: int = 1, shown: Callable[[str], str] = repr) -> str:
    """Asks whether a name near one that nobody knows was meant; says `otherwise` where none is near.

    >>> did_you_mean("seqlen", ["seq_len", "mode"]), did_you_mean("x", ["seq_len"], "known is seq_len")
    ("did you mean 'seq_len'?", 'known is seq_len')
    """
    near = difflib.get_close_matches(name, list(known), n=most)
    return f"did you mean {', '.join(map(shown, near))}?" if near else otherwise


def plain(text: object) -> str:
    r"""Escapes what could steer a terminal or turn the order of what it shows; tabs and newlines stay.

    >>> print(plain("a\x1b[2J\u202eb"))
    a\x1b[2J\u202eb
    """
    return _IN_TEXT.sub(_escape, str(text))


def one_line(text: object) -> str:
    r"""Does what `plain` does, for texts that may not begin a line of their own: names and ids.

    >>> print(one_line("a\nb\t"))
    a\nb\t
    """
    return _IN_LINE.sub(_escape, str(text))


def plain_json(value: object) -> str:
    r"""Writes JSON on one line that a terminal may show; what `plain` would escape is escaped as JSON does it.

    >>> print(plain_json({"id": "\u00e4\u202e\x7f"}))
    {"id": "ä\u202e\u007f"}
    """
    return _IN_LINE.sub(lambda found: json.dumps(found[0])[1:-1], json.dumps(value, ensure_ascii=False))


def brief(value: object) -> str:
    """Writes a value as Python does, shortened: a message quotes a megabyte of settings by its beginning.

    >>> brief(list(range(1000)))
    '[0, 1, 2, 3, 4, 5, ...]'
    """
    return _SHORT.repr(value)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    names = {0x09: "\\t", 0x0A: "\\n"}
    return names.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
