"""Reads files of ranks: `.tiktoken`, lines of a piece in base64 and its rank, and Mistral's `tekken.json`."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.base import check_unpacked

_MOST_IDS = 1 << 24  # arrays of a value for each id are made
_NO_TEXT = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that no UTF-8 holds
_FILLER = "<SPECIAL_{}>"  # how tekken calls special tokens that the file does not name
# What tekken takes where a file names no special tokens, as those of versions up to 7 do not; from id 0 on.
_OLDER_TEKKEN = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    *("[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]"),
    *("[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankFile:
    """What a file of ranks says.

    Attributes:
      ids: of the pieces, by their bytes; of two the one with the lower id merges first.
      special: ids of the special tokens that the file itself has, by name.
      pattern: what cuts texts into units; None where the file does not say.
      vocab_size: ids are below this.
    """

    ids: Mapping[bytes, int]
    special: Mapping[str, int]
    pattern: str | None
    vocab_size: int


def read_ranks(path: str, data: bytes) -> RankFile:
    """Reads a file of either kind: an object of JSON is tekken.

    Args:
      path: of the file, for errors.
      data: its content.

    Raises:
      VocabularyError: it is neither, is not whole, or lacks bytes.
    """
    found = _tekken(path, data) if check_unpacked(path, data).lstrip()[:1] == b"{" else _lines(path, data)
    missing = [byte for byte in range(256) if bytes([byte]) not in found.ids and byte not in _NO_TEXT]
    if missing:
        raise VocabularyError(
            f"{path}: {len(missing)} of the bytes have no rank, the first 0x{missing[0]:02X}, so it cannot encode every text. The file is "
            "probably cut off: copy it again."
        )
    return found


def _lines(path: str, data: bytes) -> RankFile:
    """Reads a `.tiktoken` file.

    Raises:
      VocabularyError: a line is no piece and rank, or repeats one.
    """
    ids: dict[bytes, int] = {}
    numbers: dict[int, int] = {}  # line of each rank
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        encoded, *others = line.split() or [b""]
        if len(others) != 1 or not others[0].isdigit():
            raise _wrong_line(path, number, line, "it must be a piece in base64, a space and its rank, a whole number")
        rank = int(others[0])
        try:
            piece = b"" if encoded == b"=" else base64.b64decode(encoded, validate=True)  # the empty piece, as Whisper's file has it
        except binascii.Error as error:
            raise _wrong_line(path, number, line, f"{_shown(encoded)} is no base64 ({error})") from None
        if rank >= _MOST_IDS:
            raise _wrong_line(path, number, line, f"ranks must be below {_MOST_IDS:,}")
        if piece in ids:
            raise _wrong_line(path, number, line, f"line {numbers[ids[piece]]} has the same piece")
        if rank in numbers:
            raise _wrong_line(path, number, line, f"line {numbers[rank]} has the same rank")
        ids[piece], numbers[rank] = rank, number
    if not ids:
        raise VocabularyError(f"{path}: empty. Give a file of ranks: .tiktoken, or tekken.json.")
    return RankFile(ids=ids, special={}, pattern=None, vocab_size=max(numbers) + 1)


def _wrong_line(path: str, number: int, line: bytes, problem: str) -> VocabularyError:
    return VocabularyError(f"{path}: line {number} is {_shown(line)}, but {problem}. Give the .tiktoken file that came with the model.")


def _shown(text: bytes) -> str:
    return repr(text[:60].decode("utf-8", "replace"))


def _tekken(path: str, data: bytes) -> RankFile:
    """Reads a `tekken.json`, whose special tokens come before its pieces; of these only so many count as `default_vocab_size` leaves.

    Raises:
      VocabularyError: it is not what Mistral's tekken reads.
    """
    try:
        content = json.loads(data)
        config = content["config"]
        pattern, size, num_special = config["pattern"], config["default_vocab_size"], config["default_num_special_tokens"]
        pieces, named = content["vocab"], content.get("special_tokens")
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _not_tekken(path, f"{type(error).__name__}: {error}") from None
    if not isinstance(pattern, str) or not _are_counts(size, num_special) or not isinstance(pieces, list):
        raise _not_tekken(path, "config.pattern, config.default_vocab_size, config.default_num_special_tokens or vocab is of another kind")
    if not num_special < size < _MOST_IDS or len(pieces) < size - num_special:
        raise _not_tekken(path, f"it has {len(pieces):,} pieces and {num_special:,} special tokens, and {size:,} in all")
    ids: dict[bytes, int] = {}
    for number, piece in enumerate(pieces[: size - num_special]):
        try:
            text, rank = base64.b64decode(piece["token_bytes"], validate=True), piece["rank"]
        except (KeyError, TypeError, ValueError) as error:
            raise _not_tekken(path, f"vocab[{number}] is {str(piece)[:80]} ({type(error).__name__}: {error})") from None
        if rank != number or text in ids:
            raise _not_tekken(path, f"vocab[{number}] has the rank {rank!r}" + (", and its bytes are there twice" if text in ids else ""))
        ids[text] = num_special + number
    return RankFile(ids=ids, special=_special_of_tekken(path, named, num_special), pattern=pattern, vocab_size=size)


def _are_counts(*values: Any) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values)


def _special_of_tekken(path: str, named: Any, count: int) -> dict[str, int]:
    """Lists the special tokens of a `tekken.json`: those it names, and fillers up to their number.

    Raises:
      VocabularyError: two have one name or id, or one is beyond them.
    """
    if named is None:
        named = [{"rank": i, "token_str": name} for i, name in enumerate(_OLDER_TEKKEN[:count])]
    try:
        found = [(token["token_str"], token["rank"]) for token in named]
    except (KeyError, TypeError) as error:
        raise _not_tekken(path, f"special_tokens ({type(error).__name__}: {error})") from None
    found += [(_FILLER.format(i), i) for i in range(len(found), count)]
    for name, rank in found:
        if not isinstance(name, str) or not name or not _are_counts(rank) or rank >= count:
            raise _not_tekken(path, f"special_tokens has {name!r} with the rank {rank!r}; ranks are below {count:,}")
    names = {name: rank for name, rank in found}
    if len(names) != len(found) or len(set(names.values())) != len(found):
        raise _not_tekken(path, "two special tokens have one name, or one rank")
    return names


def _not_tekken(path: str, problem: str) -> VocabularyError:
    return VocabularyError(f"{path}: not a tekken.json as Mistral writes them: {problem}. Give the file that came with the model.")
