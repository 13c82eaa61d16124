"""Asks `tokenizers` what it knows of each code point: `python -m tests.code_points_of_the_library` writes `code_point_data.py` anew.

Takes a minute. Regular expressions are asked for categories and spaces, `Digits` for numbers, normal forms for what they change.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

from tokenreel.vocabularies.pre_tokenizers import code_point_data, code_points
from tokenreel.vocabularies.pre_tokenizers.code_points import ACTIVE, CATEGORIES, MARK

Values = npt.NDArray[np.uint8]
POINTS = np.array([point for point in range(code_points.END) if not 0xD800 <= point < 0xE000])


def matches(pattern: str, points: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which code points a set in a regular expression holds: bool of the shape of `points`."""
    found = np.zeros(len(points), dtype=bool)
    splitter = pre_tokenizers.Split(Regex(f"{pattern}+"), "removed", invert=True)
    for _, (begin, end) in splitter.pre_tokenize_str("".join(map(chr, points.tolist()))):
        found[begin:end] = True
    return found


def categories(points: npt.NDArray[np.int64]) -> Values:
    """The number of each code point's category."""
    found = np.zeros(len(points), dtype=np.uint8)
    for number, name in enumerate(CATEGORIES[1:], 1):
        found[matches(rf"\p{{{name}}}", points)] = number
    return found


def numeric(points: npt.NDArray[np.int64]) -> Values:
    """What `Digits` cuts at."""
    found = np.zeros(len(points), dtype=np.uint8)
    for piece, (begin, end) in pre_tokenizers.Digits(individual_digits=False).pre_tokenize_str("".join(map(chr, points.tolist()))):
        found[begin:end] = len(pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str(f"a{piece[0]}a")) == 3
    return found


def normal_form(name: str, points: npt.NDArray[np.int64]) -> Values:
    """`MARK` where characters have an order among others of their kind, `ACTIVE` where they change or join one before them."""

    def lines(normalizer: object, texts: Sequence[str]) -> list[str]:
        found: list[str] = normalizer.normalize_str("\n".join(texts)).split("\n")  # type: ignore[attr-defined]
        assert len(found) == len(texts)
        return found

    normalizer = getattr(normalizers, name)()
    everything = [chr(point) for point in POINTS.tolist() if point != 10]
    joining = {character for decomposed in lines(normalizers.NFD(), everything) for character in decomposed[1:]}
    found = np.zeros(len(points), dtype=np.uint8)
    characters = [chr(point) if point != 10 else "a" for point in points.tolist()]
    # Behind a mark of the highest class, and before one of the lowest: what has a class moves.
    for before, behind in (("\u4e00", "\u0334"), ("\u4e00\u0345", "")):
        texts = [before + character + behind for character in characters]
        found[[text != normal for text, normal in zip(texts, lines(normalizer, texts), strict=True)]] = MARK
    changed = [a != b for a, b in zip(characters, lines(normalizer, characters), strict=True)]
    found[np.array(changed) | np.array([character in joining for character in characters])] = ACTIVE
    return found


def ask(points: npt.NDArray[np.int64]) -> dict[str, Values]:
    """All tables of `code_point_data`, at some code points."""
    return {
        "CATEGORY": categories(points),
        "SPACE": matches(r"\s", points).astype(np.uint8),
        "NUMERIC": numeric(points),
        "NFC": normal_form("NFC", points),
        "NFKC": normal_form("NFKC", points),
    }


def ask_tiktoken() -> dict[str, Values]:
    """What its regular expressions know of each code point: [END] by table."""
    import tiktoken

    everything = "".join(map(chr, POINTS.tolist()))
    ranks = {bytes([byte]): byte for byte in range(256)}

    def holds(pattern: str) -> npt.NDArray[np.bool_]:
        encoding = tiktoken.Encoding("bytes", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        found = np.zeros(code_points.END, dtype=bool)
        found[list(map(ord, bytes(encoding.encode_ordinary(everything)).decode()))] = True
        return found

    categories = np.zeros(code_points.END, dtype=np.uint8)
    for number, name in enumerate(CATEGORIES[1:], 1):
        categories[holds(rf"\p{{{name}}}")] = number
    return {"CATEGORY": categories, "SPACE": holds(r"\s").astype(np.uint8)}


def main() -> None:
    """Writes the module anew."""
    path = pathlib.Path(code_point_data.__file__)
    text = path.read_text(encoding="utf-8")
    head = text[: text.index("LIBRARY_VERSION")].replace(code_point_data.LIBRARY_VERSION, tokenizers.__version__)
    lines = [f'LIBRARY_VERSION = "{tokenizers.__version__}"', f'UNICODE_VERSION = "{code_point_data.UNICODE_VERSION}"']
    for name, values in ask(POINTS).items():
        whole = np.zeros(code_points.END, dtype=np.uint8)
        whole[POINTS] = values
        packed = code_points.pack(whole)
        lines += [f"{name} = (", *(f'    "{packed[i : i + 130]}"' for i in range(0, len(packed), 130)), ")"]
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
