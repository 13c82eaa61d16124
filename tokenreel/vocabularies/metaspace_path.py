"""What of a `tokenizer.json` that writes spaces as `▁` and merges characters is encoded through the unit memo.

The steps are those of `fast_path`, and so are the loops, which merge bytes: characters of several bytes are put together first, by merges
that come before all others. What is left of characters that are no pieces becomes their bytes, or the unknown token. Spaces stay spaces,
whose piece is `▁`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies.added_names import Names, Parts, check_ids
from tokenreel.vocabularies.fast_path import FastPath, lacks_space, lay_out_steps, measure_of, pairs_of, spread_measures, with_spaces
from tokenreel.vocabularies.kept_arrays import Built
from tokenreel.vocabularies.pre_tokenizers import merge_cuts, metaspace
from tokenreel.vocabularies.pre_tokenizers.metaspace import SPACE
from tokenreel.vocabularies.pre_tokenizers.recognition import Cutter, NotRecognised
from tokenreel.vocabularies.unit_memo.byte_pairs import BytePairs

_Bytes = npt.NDArray[np.uint8]
_Ids = npt.NDArray[np.int32]
_NO_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that no text holds
_SPACE_BYTES = SPACE.encode()
_MOST_WHOLE_BYTES = 256  # units that are looked up


def byte_piece(byte: int) -> str:
    """Names the piece of a byte."""
    return f"<0x{byte:02X}>"


def _unknown(model: Mapping[str, Any]) -> tuple[dict[int, int] | None, int, set[str]]:
    """Reads what a model does with characters that are no pieces.

    Returns:
      the piece of each byte, or None; the unknown token where there is none; and the pieces that stand for such characters.

    Raises:
      NotRecognised: it leaves them out, or takes bytes for some and a token for others.
    """
    ids: Mapping[str, int] = model["vocab"]
    if model.get("byte_fallback"):
        pieces = {byte: byte_piece(byte) for byte in range(256) if byte not in _NO_UTF8}
        missing = [piece for piece in pieces.values() if piece not in ids]
        if missing:
            raise NotRecognised(f"{len(missing)} bytes have no piece, such as {missing[0]}")
        return {byte: ids[piece] for byte, piece in pieces.items()}, -1, set(pieces.values())
    unknown = model.get("unk_token")
    if unknown is None or unknown not in ids:
        raise NotRecognised("there is no token for characters that are not known")
    return None, ids[unknown], {unknown}


def byte_pairs_of(model: Mapping[str, Any], *, splits: bool) -> tuple[BytePairs, Cutter]:
    """Reads the `model` of a `tokenizer.json`, and finds where texts may be cut.

    Args:
      model: BPE of characters.
      splits: whether words begin at spaces.

    Raises:
      NotRecognised: it does more than merge characters.
    """
    pairs = pairs_of(model)
    ids: Mapping[str, int] = model["vocab"]
    if SPACE not in ids:
        raise NotRecognised(f"there is no piece {SPACE}")
    if len(set(ids.values())) < len(ids):
        raise NotRecognised("two pieces have one id")
    bytes_, unknown, stand_ins = _unknown(model)
    used = stand_ins.intersection(itertools.chain.from_iterable(pairs))
    if used:
        raise NotRecognised(f"a merge of {min(used)}, which stands for what is not known")
    characters = {piece: i for piece, i in ids.items() if len(piece) == 1 and piece != " "}
    first_part = max(ids.values()) + 1
    byte_ids, building, parts = _build_characters(characters, first_part, bytes_, unknown)
    merges = [*building, *((ids[left], ids[right], ids[left + right]) for left, right in pairs)]
    left, right, merged = np.array(merges, dtype=np.int32).reshape(-1, 3).T.copy()
    pieces = {}
    fuses = bytes_ is None and bool(model.get("fuse_unk"))
    if not model.get("ignore_merges"):
        written = [(a.replace(SPACE, " "), b.replace(SPACE, " ")) for a, b in pairs if " " not in a + b]
        cutter = merge_cuts.for_merges(written, splits=splits, known=[*characters, " "] if fuses else ())
    elif not splits:
        raise NotRecognised("ignore_merges, of texts that are not split into words")
    else:
        pieces = {piece.replace(SPACE, " ").encode(): i for piece, i in ids.items() if piece and " " not in piece}
        if max(map(len, pieces)) > _MOST_WHOLE_BYTES:
            raise NotRecognised(f"a piece of more than {_MOST_WHOLE_BYTES} bytes that is taken whole")
        cutter = merge_cuts.cut_at_spaces()
    return BytePairs(byte_ids, left, right, merged, pieces, first_part, parts, fuses), cutter


def _build_characters(
    characters: Mapping[str, int], first_part: int, bytes_: Mapping[int, int] | None, unknown: int
) -> tuple[_Ids, list[tuple[int, int, int]], _Ids]:
    """Makes merges of bytes into characters, and the parts that these need.

    A part is the beginning of a character, or a byte that is no character by itself.

    Args:
      characters: pieces of one character, and their ids.
      first_part: the id of the first part.
      bytes_: the piece of each byte, or None.
      unknown: what a character becomes that is no piece, if there are none.

    Returns:
      the [256] int32 pieces or parts of bytes, the merges, and the [n, 4] int32 ids that parts become.
    """
    numbers: dict[bytes, int] = {}

    def part(data: bytes) -> int:
        return numbers.setdefault(data, first_part + len(numbers))

    byte_ids = np.full(256, -1, dtype=np.int32)
    for byte in range(256):
        if byte not in _NO_UTF8:
            own = characters.get(chr(byte)) if byte < 0x80 else None
            byte_ids[byte] = part(bytes([byte])) if own is None else own
    byte_ids[ord(" ")] = characters[SPACE]
    merges: dict[tuple[int, int], int] = {}
    for character, i in characters.items():
        data = character.encode()
        for size in range(2, len(data) + 1):
            merges[part(data[: size - 1]), part(data[size - 1 : size])] = i if size == len(data) else part(data[:size])
    parts = np.full((len(numbers), 4), -1, dtype=np.int32)
    for row, data in zip(parts, numbers, strict=True):
        if bytes_ is not None:
            row[: len(data)] = [bytes_[byte] for byte in data]
        elif data[0] & 0xC0 != 0x80:  # one token for each character
            row[0] = unknown
    return byte_ids, [(*pair, i) for pair, i in merges.items()], parts


def lay_out(content: Mapping[str, Any], library: Any) -> Built:
    """Works out what `MetaspacePath` needs of a tokenizer, or why it does not know it (`refusal`); see `fast_path.lay_out`."""
    given = content.get("normalizer"), content.get("pre_tokenizer")
    try:
        steps = metaspace.recognise(*given)
        model, cutter = byte_pairs_of(content["model"], splits=steps.splits)
        check_ids(content, library)
    except NotRecognised as error:
        return {}, {"refusal": str(error), "other": not metaspace.writes_spaces(*given)}

    def normalize(text: str) -> str:
        normal: str = library.normalizer.normalize_str(text) if library.normalizer else text
        return normal.replace(SPACE, " ") if steps.normalizes else normal

    arrays, about = lay_out_steps(content, library, model, cutter, steps.form, normalize)
    return arrays, about | {
        "prefix": steps.prefix,
        "trims": 0 if about["trims"] == 0 else None,  # what a post-processor trims here is left to the library
        "normalizes": steps.normalizes,
        "falls_back": bool(content["model"].get("byte_fallback")),
        "description": f"BPE of characters behind {steps.names}, cut where nothing merges",
    }


class MetaspacePath(FastPath):
    """Encodes blocks of text as the library would with one `tokenizer.json`. Threads share it."""

    _KIND, _lay_out = "metaspace", staticmethod(lay_out)

    def _prepared(self, parts: Parts, names: Names | None) -> Parts:
        """Writes spaces for `▁`, which are the same to these models, finds names in normalised texts, and puts spaces before texts."""
        prefix, normalizes = self._about["prefix"], self._about["normalizes"]
        if normalizes:
            parts = _with_plain_spaces(parts)
        if prefix == metaspace.EACH:
            parts = with_spaces(parts, (np.diff(parts.bounds) > 0) & parts.are_text)
        parts = parts.cut(names)
        if not normalizes:
            parts = _with_plain_spaces(parts)
        if prefix not in (metaspace.LACKING, metaspace.FIRST):
            return parts
        lacking = lacks_space(parts)
        if prefix == metaspace.FIRST:
            first = np.zeros(len(lacking), dtype=bool)
            first[parts.first[:-1][np.diff(parts.first) > 0]] = True
            lacking &= first
        return with_spaces(parts, lacking)

    def _measures_of(self, library: Any) -> Ints:
        """Packs what spans need of each token; -1 of those that do not always stand for the same."""
        falls_back, added = self._about["falls_back"], library.get_added_tokens_decoder().items()
        bytes_ = {byte_piece(byte): bytes([byte]) for byte in range(256)} if falls_back else {}
        found = {i: _measure(piece, bytes_) for piece, i in library.get_vocab(with_added_tokens=False).items()}
        for i, token in added:  # a space may have been put behind one, or it takes those of its neighbours
            alone = self._about["prefix"] == metaspace.NEVER and not (token.lstrip or token.rstrip)
            measure = _measure(token.content, {}) if alone else -1
            found[int(i)] = measure if found.get(int(i), measure) == measure else -1  # it may be the piece of a byte, too
        unknown = library.model.unk_token  # of what has no bytes, as where a special token has the name of one
        if unknown is not None and (i := library.token_to_id(unknown)) is not None:
            found[i] = -1
        return spread_measures(found)

    def find_spans(self, text: _Bytes, offsets: Ints, ids: _Ids, lengths: Ints) -> tuple[_Ids, _Ids, npt.NDArray[np.bool_]]:
        """Finds where the tokens of documents lie, as the library would; see `FastPath.find_spans`."""
        sizes = np.diff(offsets)
        prefixed = np.zeros(len(sizes), dtype=bool)
        if self._about["prefix"] != metaspace.NEVER and len(text):
            prefixed = sizes > 0
            if self._about["prefix"] != metaspace.EACH:
                prefixed &= text[np.minimum(offsets[:-1], len(text) - 1)] != ord(" ")
        begins, ends, explained = self._locate(offsets + ragged.offsets_of(prefixed.astype(np.int64)), ids, lengths)
        shift = np.int32(1) if prefixed.all() else np.repeat(prefixed.astype(np.int32), lengths)
        begins -= shift
        ends -= shift
        # The library takes a space that was put before a document for a part of its first character.
        first = ragged.offsets_of(lengths)[:-1][prefixed & (lengths > 0)]
        begins[first], ends[first] = 0, np.maximum(ends[first], 1)
        return begins, ends, explained & self._as_they_are(text, offsets)


def _measure(piece: str, bytes_: Mapping[str, bytes]) -> int:
    return measure_of(piece, bytes_.get(piece, piece.replace(SPACE, " ").encode()), "")


def _with_plain_spaces(parts: Parts) -> Parts:
    """Writes a space for each `▁` in texts."""
    text, (first, second, third) = parts.text, _SPACE_BYTES
    places = np.flatnonzero((text[:-2] == first) & (text[1:-1] == second))
    places = places[text[places + 2] == third]
    if not len(places):
        return parts
    holders = np.searchsorted(parts.bounds, places, side="right") - 1
    which = np.unique(holders[(holders >= 0) & (holders < len(parts.bounds) - 1)])
    which = which[parts.are_text[which]]
    data = np.ascontiguousarray(text).data
    spans = zip(parts.bounds[which].tolist(), parts.bounds[which + 1].tolist(), strict=True)
    return parts.replace(which, [bytes(data[begin:end]).replace(_SPACE_BYTES, b" ") for begin, end in spans])
