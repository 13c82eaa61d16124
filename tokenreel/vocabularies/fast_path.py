"""What of a `tokenizer.json` is encoded through the unit memo.

The steps of the library are done here in its order: names of added tokens are found in the text, what lies between them is normalised,
names are found in that too, the parts are cut into units, and units become ids. Documents that need more than that are left to the library,
which also has all of a tokenizer that is not recognised.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import itertools
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies import added_names, kept_arrays
from tokenreel.vocabularies.added_names import Names, Parts
from tokenreel.vocabularies.base import Encoded
from tokenreel.vocabularies.kept_arrays import Built
from tokenreel.vocabularies.pre_tokenizers import code_point_data, code_points, recognition
from tokenreel.vocabularies.pre_tokenizers.recognition import Cutter, NotRecognised, OtherKind
from tokenreel.vocabularies.unit_memo.byte_pairs import BytePairMemo, BytePairs
from tokenreel.vocabularies.unit_memo.byte_pairs import lay_out as lay_out_model

_Bytes = npt.NDArray[np.uint8]
_Ids = npt.NDArray[np.int32]
_NO_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that no text holds
_NONE: _Ids = np.zeros(0, dtype=np.int32)
MOST_BYTES = 1 << 26  # of a document; the kernels count the bytes of one, in a normal form that may be many times as long, in 30 bits
_TRIMS, _KEEPS_FIRST = 1, 2  # spans leave out spaces at their ends; but for one space that begins a document
EncodeDocuments = Callable[[_Bytes, Ints], Encoded]


@functools.cache
def byte_letters() -> dict[str, int]:
    """Gives the letters in which byte-level tokenizers write bytes: the byte of each; those of printable bytes are their own.

    >>> letters = byte_letters()
    >>> letters["a"], letters["Ġ"], len(letters)
    (97, 32, 256)
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _ids(values: Collection[int]) -> _Ids:
    return np.fromiter(values, dtype=np.int32, count=len(values))


def _as_bytes(piece: str) -> bytes | None:
    letters = byte_letters()
    return bytes(letters[letter] for letter in piece) if all(letter in letters for letter in piece) else None


def pairs_of(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Reads what the `model` of a `tokenizer.json` merges: pairs of pieces, best first.

    Raises:
      NotRecognised: it does not merge, or does more than that.
    """
    if model.get("type", "BPE") != "BPE":
        raise NotRecognised(f"the model {model.get('type')}")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise NotRecognised(f"the model's {name}")
    pairs = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"])
    return [(left, right) for left, right in pairs]


def byte_pairs_of(model: Mapping[str, Any]) -> BytePairs:
    """Reads the `model` of a byte-level `tokenizer.json`.

    Raises:
      NotRecognised: it is none that merges bytes alone.
    """
    pairs = pairs_of(model)
    ids: Mapping[str, int] = model["vocab"]
    byte_ids = np.full(256, -1, dtype=np.int32)
    for letter, byte in byte_letters().items():
        byte_ids[byte] = ids.get(letter, -1)
    missing = [byte for byte in range(256) if byte_ids[byte] < 0 and byte not in _NO_UTF8]
    if missing:
        raise NotRecognised(f"{len(missing)} bytes have no piece, such as 0x{missing[0]:02X}")
    left, right, merged = (
        np.fromiter((ids[name] for name in names), dtype=np.int32, count=len(pairs))
        for names in ((a for a, _ in pairs), (b for _, b in pairs), (a + b for a, b in pairs))
    )
    pieces = {}
    if model.get("ignore_merges"):
        pieces = {data: i for piece, i in ids.items() if piece and (data := _as_bytes(piece)) is not None}
        if max(map(len, pieces)) > 256:
            raise NotRecognised("a piece of more than 256 bytes that is taken whole")
    return BytePairs(byte_ids, left, right, merged, pieces)


def _normal_form(normalizer: Mapping[str, Any] | None) -> str | None:
    """Reads the normaliser: `NFC`, `NFKC`, or None where texts stay as they are.

    Raises:
      NotRecognised: it is another one.
    """
    if normalizer is None:
        return None
    kind = normalizer.get("type")
    if kind == "Sequence":
        forms = [form for step in normalizer.get("normalizers", []) if (form := _normal_form(step)) is not None]
        if len(forms) > 1:
            raise NotRecognised("several normalisers")
        return forms[0] if forms else None
    if kind not in ("NFC", "NFKC"):
        raise NotRecognised(f"the normaliser {kind}")
    return str(kind)


def _normalize_by(form: str | None) -> Callable[[str], str] | None:
    import tokenizers

    normalize: Callable[[str], str] | None = getattr(tokenizers.normalizers, form)().normalize_str if form else None
    return normalize


def lay_out(content: Mapping[str, Any], library: Any) -> Built:
    """Works out what `FastPath` needs of a tokenizer, or why it does not know it (`refusal`).

    Args:
      content: of the `tokenizer.json`.
      library: the `Tokenizer` that it was loaded into; tells the ids of added tokens, and whether names of special ones are text.
    """
    try:
        form, cutter = _normal_form(content.get("normalizer")), recognition.recognise(content.get("pre_tokenizer"))
        model = byte_pairs_of(content["model"])
        added_names.check_ids(content, library)
    except NotRecognised as error:
        return {}, {"refusal": str(error)}
    arrays, about = lay_out_steps(content, library, model, cutter, form, _normalize_by(form))
    return arrays, about | {
        "prefix_space": cutter.prefix_space,
        "description": f"byte-level BPE, cut by {cutter.names}" + (f" after {form}" if form else ""),
    }


def lay_out_steps(
    content: Mapping[str, Any], library: Any, model: BytePairs, cutter: Cutter, form: str | None, normalize: Callable[[str], str] | None
) -> Built:
    """Lays out the steps that all paths have.

    Args:
      content: of the `tokenizer.json`.
      library: the `Tokenizer` that it was loaded into.
      model: what merges.
      cutter: what cuts texts into units.
      form: the normal form that texts are put into.
      normalize: normalises the name of an added token, into what texts are when it is looked for.
    """
    ids = np.unique(np.concatenate([model.byte_ids, model.merged, model.parts.ravel(), _ids(model.pieces.values())]))
    arrays = kept_arrays.named("model", lay_out_model(model, cutter)) | {
        "ids": ids[(ids >= 0) & (ids < model.first_part)],
        "kinds": code_points.spread(*code_points.table(form)) if form else np.zeros(0, dtype=np.uint8),
    }
    arrays |= added_names.lay_out(added_names.actions_of(library, normalize))
    return arrays, {"form": form, "trims": trims_of(content.get("post_processor"))}


class FastPath:
    """Encodes blocks of text as the library would with one `tokenizer.json`. Threads share it.

    Attributes:
      ids: sorted int32, what texts may become without added tokens.
      description: what was recognised, for people.
    """

    _KIND, _lay_out = "tokenizer-json", staticmethod(lay_out)  # of kept arrays, and what builds them

    def __init__(self, fingerprint: str, read: Callable[[], tuple[Mapping[str, Any], Any]], memo_bytes: int) -> None:
        """Maps the arrays of a tokenizer, which are built first where they are not kept.

        Args:
          fingerprint: hexadecimal digits that tell all that `read` gives.
          read: gives the content of the `tokenizer.json`, and the library's `Tokenizer` that it was loaded into.
          memo_bytes: most memory for units that were seen.

        Raises:
          NotRecognised: the tokenizer does something that is not known here.
        """
        import tokenizers

        if tokenizers.__version__ != code_point_data.LIBRARY_VERSION:
            raise NotRecognised(f"tokenizers {tokenizers.__version__}, whose Unicode tables were not compared with those kept here")
        if importlib.util.find_spec("numba") is None:  # a trainer's environment may lack it, and encodes little
            raise NotRecognised("Numba is not installed")
        kept = kept_arrays.get(self._KIND, fingerprint, lambda: self._lay_out(*read()))
        if "refusal" in kept.about:
            raise (OtherKind if kept.about.get("other") else NotRecognised)(kept.about["refusal"])
        self._arrays, self._memo_bytes = kept.arrays, memo_bytes
        self._normalize = _normalize_by(kept.about["form"])
        self._about, self._trims = kept.about, kept.about["trims"]
        self._fingerprint, self._read, self._lock = fingerprint, read, threading.Lock()
        self.ids, self.description = kept.arrays["ids"], kept.about["description"]

    @functools.cached_property
    def _loaded(self) -> tuple[BytePairMemo, Names | None, Names | None]:
        """The memo, and the names to look for in texts and in normalised texts: what needs the kernels."""
        return BytePairMemo(kept_arrays.part("model", self._arrays), self._memo_bytes), *added_names.load(self._arrays)

    def encode_block(self, text: _Bytes, offsets: Ints, by_library: EncodeDocuments) -> Encoded:
        """Encodes documents.

        Args:
          text: [bytes] uint8, valid UTF-8, documents end to end.
          offsets: [n + 1] int64 their bounds.
          by_library: encodes whole documents with the library.

        Returns:
          int32 ids end to end, and the [n] int64 number of ids of each document.
        """
        if np.diff(offsets).max(initial=0) > MOST_BYTES:
            return by_library(text, offsets)
        with self._lock:  # the first thread builds what all use
            memo, raw, normalized = self._loaded
        count = len(offsets) - 1
        parts = Parts(text, offsets, _NONE, np.arange(count + 1), np.zeros(count, dtype=bool)).cut(raw)
        if count and parts.left.all():
            return by_library(text, offsets)
        parts = self._prepared(self._normal(parts.without_left()), normalized)
        ids, lengths = memo.encode(parts.text, parts.bounds, parts.tokens)
        if len(lengths) != count or parts.left.any():
            lengths = np.diff(ragged.offsets_of(lengths)[parts.first])
        which = np.flatnonzero(parts.left)
        if len(which):
            ids, lengths = replace_documents(ids, lengths, which, by_library(*ragged.take(text, offsets, which)))
        return ids, lengths

    def _normal(self, parts: Parts) -> Parts:
        """Puts texts into the normal form."""
        if self._normalize is None:
            return parts
        from tokenreel.vocabularies.unit_memo.kernels.added_tokens import not_normal

        which = np.flatnonzero(not_normal(parts.text, parts.bounds, self._arrays["kinds"]) & parts.are_text)
        if not len(which):
            return parts
        data = np.ascontiguousarray(parts.text).data
        spans = zip(parts.bounds[which].tolist(), parts.bounds[which + 1].tolist(), strict=True)
        return parts.replace(which, [self._normalize(str(data[begin:end], "utf-8")).encode() for begin, end in spans])

    def _prepared(self, parts: Parts, names: Names | None) -> Parts:
        """Finds names in normalised texts, and puts a space before texts that begin with none, if that is a step."""
        parts = parts.cut(names)
        return with_spaces(parts, lacks_space(parts)) if self._about["prefix_space"] else parts

    @functools.cached_property
    def _measures(self) -> Ints:
        """What `kernels.byte_spans.find_spans` asks about each id."""

        def build() -> Built:
            return {"measures": self._measures_of(self._read()[1])}, None

        return kept_arrays.get(f"{self._KIND}-measures", self._fingerprint, build).arrays["measures"]

    def _measures_of(self, library: Any) -> Ints:
        return measures_of(library, self._trims)

    def find_spans(self, text: _Bytes, offsets: Ints, ids: _Ids, lengths: Ints) -> tuple[_Ids, _Ids, npt.NDArray[np.bool_]]:
        """Finds where the tokens of documents lie, as the library would.

        Args:
          text: [bytes] uint8, as for `encode_block`.
          offsets: [n + 1] int64, likewise.
          ids: [tokens] int32, which `encode_block` gave.
          lengths: [n] int64, likewise.

        Returns:
          [tokens] int32 begin and end of each in characters of its document, and [n] bool for which documents they are right.
        """
        begins, ends, explained = self._locate(offsets, ids, lengths)
        return begins, ends, explained & self._as_they_are(text, offsets)

    def _locate(self, offsets: Ints, ids: _Ids, lengths: Ints) -> tuple[_Ids, _Ids, npt.NDArray[np.bool_]]:
        """Finds where tokens lie in what documents became, whose bounds are given."""
        from tokenreel.vocabularies.unit_memo.kernels import byte_spans

        with self._lock:
            measures = self._measures
        if self._trims is None:
            return np.zeros_like(ids), np.zeros_like(ids), np.zeros(len(lengths), dtype=bool)
        found: tuple[_Ids, _Ids, npt.NDArray[np.bool_]] = byte_spans.find_spans(
            offsets, ids, lengths, measures, self._trims == _KEEPS_FIRST
        )
        return found

    def _as_they_are(self, text: _Bytes, offsets: Ints) -> npt.NDArray[np.bool_]:
        """Tells which documents the normal form surely leaves as they are."""
        from tokenreel.vocabularies.unit_memo.kernels import added_tokens

        if self._normalize is None:
            return np.ones(len(offsets) - 1, dtype=bool)
        left: npt.NDArray[np.bool_] = ~added_tokens.not_normal(text, offsets, self._arrays["kinds"])
        return left


def lacks_space(parts: Parts) -> npt.NDArray[np.bool_]:
    """Tells which parts are text that does not begin with a space; none that is empty."""
    if not len(parts.text):
        return np.zeros(len(parts.bounds) - 1, dtype=bool)
    begins = np.minimum(parts.bounds[:-1], len(parts.text) - 1)
    lacking: npt.NDArray[np.bool_] = (np.diff(parts.bounds) > 0) & (parts.text[begins] != ord(" ")) & parts.are_text
    return lacking


def with_spaces(parts: Parts, which: npt.NDArray[np.bool_]) -> Parts:
    """Puts a space before some parts."""
    from tokenreel.vocabularies.unit_memo.kernels.added_tokens import put_spaces

    text, bounds = put_spaces(np.ascontiguousarray(parts.text), parts.bounds, which)
    return dataclasses.replace(parts, text=text, bounds=bounds)


def measures_of(library: Any, trims: int | None) -> Ints:
    """Packs what spans need of each token of a `Tokenizer`, whose post-processor `trims`: int64, by id."""
    spaces = "Ġ" + "".join(chr(point) for first, end in code_points.spaces().reshape(-1, 2).tolist() for point in range(first, end))
    found: dict[int, int] = {}
    # Pieces of other letters come of no text.
    letters = ((i, piece, _as_bytes(piece)) for piece, i in library.get_vocab(with_added_tokens=False).items())
    tokens = library.get_added_tokens_decoder()
    added = ((int(i), token.content, token.content.encode()) for i, token in tokens.items())
    for i, name, data in itertools.chain(letters, added):
        if data is not None:
            # The span of a token that takes spaces with it may lie across the one of its neighbour.
            takes = i in tokens and (tokens[i].lstrip or tokens[i].rstrip)
            measure = -1 if takes else measure_of(name, data, spaces if trims else "")
            # A piece may have the name of an added token, and mean other bytes: then only the library knows which of them it is.
            found[i] = measure if found.get(i, measure) == measure else -1
    return spread_measures(found)


def spread_measures(found: Mapping[int, int]) -> Ints:
    """Makes the array of the measures of some ids; those of all others are -1."""
    measures = np.full(max(found) + 1, -1, dtype=np.int64)
    measures[list(found)] = list(found.values())
    return measures


def measure_of(name: str, data: bytes, spaces: str) -> int:
    """Packs what spans need of a token, as `kernels.byte_spans` says; -1 where it is too long.

    Args:
      name: of the token, which tells its spaces.
      data: what it stands for.
      spaces: letters that its span leaves out at its ends.
    """
    from tokenreel.vocabularies.unit_memo.kernels.byte_spans import BYTES, CHARACTERS, LEADING, TRAILING, WITHIN

    if len(data) >= 1 << 13:
        return -1
    begun = sum(byte & 0xC0 != 0x80 for byte in data)
    leading, trailing = (len(name) - len(strip(spaces)) for strip in (name.lstrip, name.rstrip)) if spaces else (0, 0)
    within = bool(data) and data[0] & 0xC0 == 0x80
    return len(data) << BYTES | begun << CHARACTERS | leading << LEADING | trailing << TRAILING | within << WITHIN


def trims_of(post_processor: Mapping[str, Any] | None) -> int | None:
    """Reads what a `post_processor` does to spans: 0 nothing, `_TRIMS`, `_KEEPS_FIRST`, or None if that is not known here."""
    if post_processor is None:
        return 0
    kind = post_processor.get("type")
    if kind == "Sequence":
        found = [trims_of(each) for each in post_processor.get("processors", [])]
        trimming = [each for each in found if each != 0]
        return 0 if not trimming else trimming[0] if len(trimming) == 1 else None
    if kind in ("ByteLevel", "RobertaProcessing"):
        return (_KEEPS_FIRST if post_processor.get("add_prefix_space", True) else _TRIMS) if post_processor.get("trim_offsets", True) else 0
    return 0 if kind in ("TemplateProcessing", "BertProcessing") else None


def replace_documents(ids: _Ids, lengths: Ints, which: Ints, others: Encoded) -> Encoded:
    """Gives some documents ([k] indices) other ids.

    >>> ids, lengths = replace_documents(np.int32([1, 2, 3]), np.array([2, 1]), np.array([0]), (np.int32([9]), np.array([1])))
    >>> ids.tolist(), lengths.tolist()
    ([9, 3], [1, 1])
    """
    order = np.arange(len(lengths), dtype=np.int64)
    order[which] = len(lengths) + np.arange(len(which))
    bounds = ragged.offsets_of(np.concatenate([lengths, others[1]]))
    taken, new = ragged.take(np.concatenate([ids, others[0]]), bounds, order)
    return taken, np.diff(new)
