"""Vocabularies that come without a `tokenizer.json`: `vocab.json` with `merges.txt` (GPT-2, RoBERTa), and `vocab.txt` (BERT).

They become the `tokenizer.json` that stands for them, which is also the copy in a dataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tokenreel.errors import VocabularyError

MERGES = "merges.txt"
_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PREFIX = "##"  # of pieces that go on within a word
_NO_IDS = re.compile(rb'\s*\{\s*"(version|truncation|padding|added_tokens|normalizer|pre_tokenizer|model)"\s*:\s*["\[{nt]')
"""The beginning of a `tokenizer.json`: to read all of one with 128,000 pieces takes 0.1 s, and the library does so itself."""
_WORD_END = "</w>"


def to_tokenizer_json(path: str, data: bytes, beside: Mapping[str, bytes], read_merges: Callable[[], bytes]) -> bytes:
    """Makes a `tokenizer.json` of a vocabulary of pieces alone; what is none of the kind stays as it is.

    Args:
      path: of the file, for errors; a name that ends in `.txt` has a piece on each line.
      data: its content.
      beside: contents of the files beside it, of which `tokenizer_config.json` may tell `do_lower_case` and the like.
      read_merges: gives the content of `merges.txt` beside it.

    Raises:
      VocabularyError: the files contradict themselves, or are not whole.
    """
    if path.endswith(".txt"):
        return _dump(_word_pieces(path, _lines(path, data), _settings(beside)))
    if _NO_IDS.match(data):
        return data
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(content, dict) or not content or not all(type(value) is int for value in content.values()):
        return data
    merges = [line for line in _lines(f"{path}: {MERGES} beside it", read_merges()) if line and not line.startswith("#version")]
    return _dump(_byte_level(path, content, merges, _settings(beside)))


def _settings(beside: Mapping[str, bytes]) -> dict[str, Any]:
    """Reads `tokenizer_config.json`; what is no object is refused where special tokens are read from it."""
    try:
        found = json.loads(beside.get("tokenizer_config.json", b"{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: str, data: bytes) -> list[str]:
    """Reads lines, which end at line feeds alone.

    Raises:
      VocabularyError: it is no UTF-8.
    """
    try:
        return data.decode().removesuffix("\n").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise VocabularyError(f"{path}: not UTF-8 ({error}). Give the file that came with the model.") from error


def _byte_level(path: str, ids: Mapping[str, int], merges: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Byte-level BPE. What is neither a byte nor made by a merge comes of no text: such pieces are special.

    Raises:
      VocabularyError: a line is no merge, or words have an end that is written.
    """
    pairs = [line.split(" ") for line in merges]
    for pair in pairs:
        if len(pair) != 2 or not all(pair):
            raise VocabularyError(f"{path}: {MERGES} beside it has the line {' '.join(pair)!r}, which is no pair of pieces.")
    made = {first + second for first, second in pairs}
    special = [piece for piece in ids if len(piece) > 1 and piece not in made]
    ends = [piece for piece in special if piece.endswith(_WORD_END)]
    if ends:
        raise VocabularyError(
            f"{path}: the piece {ends[0]!r} ends a word, as CLIP's do; how texts are normalised and cut does not stand in such files. "
            "Give the model's tokenizer.json."
        )
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": settings.get("add_prefix_space") is True,
        "trim_offsets": True,
        "use_regex": True,
    }
    model = {"type": "BPE", "vocab": dict(ids), "merges": pairs, **dict.fromkeys(("dropout", "unk_token"))}
    model |= dict.fromkeys(("continuing_subword_prefix", "end_of_word_suffix")) | dict.fromkeys(("fuse_unk", "byte_fallback"), False)
    return _tokenizer(special, ids, model, None, byte_level, byte_level)


def _word_pieces(path: str, lines: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """BERT's word pieces, a piece on each line. A vocabulary without a capital letter is of texts in lower case.

    Raises:
      VocabularyError: a piece stands there twice, or there is none for what is not known.
    """
    ids: dict[str, int] = {}
    for number, piece in enumerate(lines):
        if piece in ids:
            raise VocabularyError(
                f"{path}: lines {ids[piece] + 1} and {number + 1} are both {piece!r}. Give the file that came with the model."
            )
        ids[piece] = number
    unknown = settings.get("unk_token") if isinstance(settings.get("unk_token"), str) else "[UNK]"
    if unknown not in ids:
        raise VocabularyError(f"{path}: has no piece {unknown!r} for what is not known, as each vocab.txt of BERT has.")
    special = [piece for piece in _BERT if piece in ids]
    lower = settings.get("do_lower_case")
    if not isinstance(lower, bool):
        lower = not any(piece != piece.lower() for piece in ids if not (piece.startswith("[") and piece.endswith("]")))
    normalizer = {"type": "BertNormalizer", "clean_text": True, "lowercase": lower, "strip_accents": settings.get("strip_accents")}
    normalizer["handle_chinese_chars"] = settings.get("tokenize_chinese_chars") is not False
    model = {"type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": _PREFIX, "max_input_chars_per_word": 100, "vocab": ids}
    return _tokenizer(
        special, ids, model, normalizer, {"type": "BertPreTokenizer"}, {"type": "WordPiece", "prefix": _PREFIX, "cleanup": True}
    )


def _tokenizer(
    special: Iterable[str], ids: Mapping[str, int], model: Any, normalizer: Any, pre_tokenizer: Any, decoder: Any
) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": ids[piece], "content": piece, **plain, "special": True} for piece in sorted(special, key=ids.__getitem__)]
    parts = {"added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder, "model": model}
    return {"version": "1.0", "truncation": None, "padding": None, "post_processor": None, **parts}


def _dump(tokenizer: Mapping[str, Any]) -> bytes:
    return json.dumps(tokenizer, ensure_ascii=False).encode()
