"""What of a `tokenizer.json` whose model sees words one by one is encoded through the memo of units of words.

Units are parts of the text as it is. What the library's normaliser and pre-tokenizer make of a character is asked of them when it comes
for the first time; units in which that does not tell all are encoded by the library, once each.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies import added_names, kept_arrays
from tokenreel.vocabularies.added_names import Names, Parts
from tokenreel.vocabularies.base import Encoded
from tokenreel.vocabularies.fast_path import MOST_BYTES, FastPath, replace_documents, trims_of
from tokenreel.vocabularies.joined_units import JoinedUnits
from tokenreel.vocabularies.kept_arrays import Built
from tokenreel.vocabularies.metaspace_path import MetaspacePath
from tokenreel.vocabularies.pre_tokenizers import letters, piece_steps, word_steps
from tokenreel.vocabularies.pre_tokenizers.letters import Letters
from tokenreel.vocabularies.pre_tokenizers.piece_steps import PieceSteps
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised, OtherKind
from tokenreel.vocabularies.pre_tokenizers.word_steps import WordSteps
from tokenreel.vocabularies.unit_memo.word_memo import LIBRARY, Model, Rules, Tokens, WordMemo

_Bytes = npt.NDArray[np.uint8]
_Ids = npt.NDArray[np.int32]
_Flags = npt.NDArray[np.bool_]
_NONE: _Ids = np.zeros(0, dtype=np.int32)
_ANY_LENGTH = 1 << 62
_UNKNOWN_PENALTY = 10.0  # the library's, below the lowest score


def open_path(
    fingerprint: str, read: Callable[[], tuple[Mapping[str, Any], Any]], library: Callable[[], Any], memo_bytes: int
) -> FastPath | WordPath:
    """Opens the path that knows a tokenizer; the arguments are those of `WordPath`.

    Raises:
      NotRecognised: none does; says what stands in the way of the one for such tokenizers.
    """
    try:
        return FastPath(fingerprint, read, memo_bytes)
    except NotRecognised:
        with contextlib.suppress(OtherKind):
            return WordPath(fingerprint, read, library, memo_bytes)
        with contextlib.suppress(OtherKind):
            return MetaspacePath(fingerprint, read, memo_bytes)
        raise


def lay_out_pieces(model: Mapping[str, Any]) -> Built:
    """Works out what a model of word pieces, or of whole words, needs.

    Raises:
      NotRecognised: it has no token for words that are not known.
    """
    ids: Mapping[str, int] = model["vocab"]
    unknown, pieces = str(model.get("unk_token")), model["type"] == "WordPiece"
    if unknown not in ids:
        raise NotRecognised(f"{model['type']} without a token for what is not known")
    prefix = (model.get("continuing_subword_prefix") or "") if pieces else ""
    within = {piece[len(prefix) :]: i for piece, i in ids.items() if piece.startswith(prefix)} if pieces else {}
    most = model.get("max_input_chars_per_word", 100) if pieces else _ANY_LENGTH
    return {"beginning": trie_of(ids), "within": trie_of(within)}, {"unknown": ids[unknown], "most_characters": most}


def trie_of(ids: Mapping[str, int]) -> Ints:
    """Builds a trie of pieces, as `kernels.trie.build_trie` gives it."""
    from tokenreel.vocabularies.unit_memo.kernels.trie import build_trie

    pieces = sorted((piece.encode(), i) for piece, i in ids.items() if piece)
    bounds = ragged.offsets_of(np.fromiter((len(piece) for piece, _ in pieces), dtype=np.int64, count=len(pieces)))
    text = np.frombuffer(b"".join(piece for piece, _ in pieces), dtype=np.uint8)
    trie: Ints = build_trie(text, bounds, np.fromiter((i for _, i in pieces), dtype=np.int32, count=len(pieces)))
    return trie


def _word_pieces(arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> Model:
    from tokenreel.vocabularies.unit_memo.kernels.word_models import word_pieces

    known = arrays["beginning"], arrays["within"], np.int32(about["unknown"]), about["most_characters"]
    return lambda text, bounds: word_pieces(text, bounds, *known)


def lay_out_unigram(model: Mapping[str, Any]) -> Built:
    """Works out what a unigram model needs.

    Raises:
      NotRecognised: it has no token for what is not known, or an empty piece.
    """
    pieces: list[tuple[str, float]] = model["vocab"]
    ids = {piece: i for i, (piece, _) in enumerate(pieces)}  # of equals the last, as in the library
    if model.get("unk_id") is None:
        raise NotRecognised("Unigram without a token for what is not known")
    if "" in ids:
        raise NotRecognised("Unigram with an empty piece")
    scores = np.array([score for _, score in pieces], dtype=np.float64)
    falls_back = bool(model.get("byte_fallback"))
    byte_ids = np.array([ids.get(f"<0x{byte:02X}>", -1) if falls_back else -1 for byte in range(256)], dtype=np.int32)
    return {"trie": trie_of(ids), "scores": scores, "byte_ids": byte_ids}, {"unknown": int(model["unk_id"])}


def _best_pieces(arrays: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> Model:
    from tokenreel.vocabularies.unit_memo.kernels.word_models import best_pieces

    scores = arrays["scores"]
    known = arrays["trie"], scores, np.int32(about["unknown"]), float(scores.min()) - _UNKNOWN_PENALTY, arrays["byte_ids"]
    return lambda text, bounds: best_pieces(text, bounds, *known)


_MODELS: Mapping[str, tuple[Callable[[Mapping[str, Any]], Built], Callable[[Mapping[str, npt.NDArray[Any]], Mapping[str, Any]], Model]]] = {
    "WordPiece": (lay_out_pieces, _word_pieces),
    "WordLevel": (lay_out_pieces, _word_pieces),
    "Unigram": (lay_out_unigram, _best_pieces),
}
"""What works out the arrays of a model, and what makes of them the function that encodes words."""


def lay_out(content: Mapping[str, Any], library: Any) -> Built:
    """Works out what `WordPath` needs of a tokenizer, or why it does not know it (`refusal`).

    Args:
      content: of the `tokenizer.json`.
      library: the `Tokenizer` that it was loaded into; tells the ids of added tokens, and whether names of special ones are text.
    """
    kind = content["model"].get("type")
    if kind not in _MODELS:
        return {}, {"model": None}
    normalizer, pre_tokenizer = content.get("normalizer"), content.get("pre_tokenizer")
    try:
        steps = (piece_steps if piece_steps.is_metaspace(pre_tokenizer) else word_steps).recognise(normalizer, pre_tokenizer)
        # The library reads scores from a file less exactly than Python, and writes those that it has so that both read them.
        model = json.loads(library.to_str())["model"] if kind == "Unigram" else content["model"]
        arrays, about = _MODELS[kind][0](model)
        added_names.check_ids(content, library)
        actions = added_names.actions_of(library, library.normalizer and library.normalizer.normalize_str)
        if normalizer and any(action != added_names.TEXT for action in actions[1].values()):
            raise NotRecognised("added tokens that are looked for in the normalised text")
    except NotRecognised as error:
        return {}, {"model": kind, "refusal": str(error)}
    found, given = kept_arrays.named("model", arrays), {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer}
    found["ids"] = np.unique(np.fromiter(library.get_vocab(with_added_tokens=False).values(), dtype=np.int32))
    loaded = _steps_of(given)
    found |= kept_arrays.named("letters", letters.lay_out(loaded.ask, loaded.find_runs()))
    return found | added_names.lay_out(actions), {
        "model": kind,
        "about": about,
        "steps": given,
        "trims": trims_of(content.get("post_processor")) != 0,
        "tokens": {token.content: int(i) for i, token in library.get_added_tokens_decoder().items()},
        "description": f"{kind} of words, cut by {steps}",
    }


def _steps_of(given: Mapping[str, Any]) -> WordSteps | PieceSteps:
    """Loads the `normalizer` and `pre_tokenizer` of a file."""
    return (PieceSteps if piece_steps.is_metaspace(given["pre_tokenizer"]) else WordSteps)(**given)


class WordPath:
    """Encodes blocks of text as the library would with one `tokenizer.json`. Threads share it.

    Attributes:
      ids: int32, what texts may become without added tokens.
      description: what was recognised, for people.
    """

    def __init__(
        self, fingerprint: str, read: Callable[[], tuple[Mapping[str, Any], Any]], library: Callable[[], Any], memo_bytes: int
    ) -> None:
        """Maps the arrays of a tokenizer, which are built first where they are not kept.

        Args:
          fingerprint: hexadecimal digits that tell all that `read` gives.
          read: gives the content of the `tokenizer.json`, and the library's `Tokenizer` that it was loaded into.
          library: gives the latter alone, for reading the file takes longer than encoding some units.
          memo_bytes: most memory for units that were seen.

        Raises:
          OtherKind: its model does not see words one by one.
          NotRecognised: the tokenizer does something that is not known here.
        """
        import tokenizers

        if importlib.util.find_spec("numba") is None:  # a trainer's environment may lack it, and encodes little
            raise NotRecognised("Numba is not installed")
        kept = kept_arrays.get("words", keys.digest(fingerprint, tokenizers.__version__), lambda: lay_out(*read()))
        if kept.about["model"] is None:
            raise OtherKind
        if "refusal" in kept.about:
            raise NotRecognised(kept.about["refusal"])
        self._arrays, self._about, self._memo_bytes, self._loaded_library = kept.arrays, kept.about, memo_bytes, library
        self._lock, self._library_lock = threading.Lock(), threading.Lock()
        self.ids, self.description = kept.arrays["ids"], kept.about["description"]

    @functools.cached_property
    def _steps(self) -> WordSteps | PieceSteps:
        return _steps_of(self._about["steps"])

    @functools.cached_property
    def _joined(self) -> JoinedUnits:
        """The library with the model alone: the one that it holds already, whose scores are its own (see `lay_out`)."""
        return JoinedUnits(self._loaded_library().model)

    def _by_library(self, texts: list[str], flags: list[int], spans: bool) -> Tokens:
        """Encodes units by the library."""
        from tokenreel.vocabularies.unit_memo.kernels.word_units import FIRST

        steps, parts, order = self._steps, list[Tokens](), list[Ints]()
        given, bad = np.array(flags, dtype=np.int64), np.fromiter(map(steps.cuts_badly, texts, flags), dtype=bool, count=len(texts))
        with self._library_lock:
            for flag in sorted(set(flags)):
                which = np.flatnonzero((given == flag) & ~bad)
                self._joined.library.normalizer, self._joined.library.pre_tokenizer = steps.steps_for(flag)
                parts.append(self._joined.encode([texts[i] for i in which.tolist()], spans=spans, joins=not flag & FIRST))
                order.append(which)
        others = np.flatnonzero(bad)
        zeros = np.zeros(len(others), dtype=np.int32)
        parts.append(Tokens(zeros + LIBRARY, zeros, zeros, np.arange(len(others) + 1)))
        back = np.argsort(np.concatenate([*order, others]))
        bounds = ragged.offsets_of(np.concatenate([np.diff(each.bounds) for each in parts]))
        ids, id_bounds = ragged.take(np.concatenate([each.ids for each in parts]), bounds, back)
        begins, ends = (ragged.take(np.concatenate(each), bounds, back)[0] for each in zip(*(part[1:3] for part in parts), strict=True))
        return Tokens(ids, begins, ends, id_bounds)

    @functools.cached_property
    def _loaded(self) -> tuple[Rules, tuple[Names | None, Names | None]]:
        """What the memos go by, and the names to look for."""
        steps = self._steps
        model = _MODELS[self._about["model"]][1](kept_arrays.part("model", self._arrays), self._about["about"])
        tokens = {name.encode(): i for name, i in self._about["tokens"].items()}
        how = steps.allowed, steps.splits_runs, steps.spaces, steps.flags
        rules = Rules(Letters(steps.ask, kept_arrays.part("letters", self._arrays)), *how, model, self._by_library, tokens)
        return rules, added_names.load(self._arrays)

    @functools.cached_property
    def _memo(self) -> WordMemo:
        return WordMemo(self._loaded[0], self._memo_bytes, spans=False)

    @functools.cached_property
    def _span_memo(self) -> WordMemo:
        return WordMemo(self._loaded[0], self._memo_bytes, spans=True)

    def encode_block(self, text: _Bytes, offsets: Ints, by_library: Callable[[_Bytes, Ints], Encoded]) -> Encoded:
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
        ids, _, _, lengths, left = self._encode(text, offsets, spans=False)
        which = np.flatnonzero(left)
        if len(which) == len(left) > 0:
            return by_library(text, offsets)
        if len(which):
            ids, lengths = replace_documents(ids, lengths, which, by_library(*ragged.take(text, offsets, which)))
        return ids, lengths

    def encode_with_spans(self, text: _Bytes, offsets: Ints) -> tuple[_Ids, _Ids, _Ids, Ints, _Flags]:
        """Encodes documents, and says where their tokens lie.

        Args:
          text: [bytes] uint8, valid UTF-8, documents end to end.
          offsets: [n + 1] int64 their bounds.

        Returns:
          int32 ids, begins and ends (in characters of the document) end to end, the [n] int64 number of ids of each document, and [n] bool
          which documents are left to the library.
        """
        if self._about["trims"] or np.diff(offsets).max(initial=0) > MOST_BYTES:
            return _NONE, _NONE, _NONE, np.zeros(len(offsets) - 1, dtype=np.int64), np.ones(len(offsets) - 1, dtype=bool)
        return self._encode(text, offsets, spans=True)

    def _encode(self, text: _Bytes, offsets: Ints, *, spans: bool) -> tuple[_Ids, _Ids, _Ids, Ints, _Flags]:
        with self._lock:  # the first thread builds what all use
            names, memo = self._loaded[1], self._span_memo if spans else self._memo
        count = len(offsets) - 1
        parts = Parts(text, offsets, _NONE, np.arange(count + 1), np.zeros(count, dtype=bool))
        for each in names:
            parts = parts.cut(each)
        parts = parts.without_left()
        ids, begins, ends, lengths = memo.encode(parts.text, parts.bounds, parts.tokens, parts.first)
        left = parts.left.copy()
        left[ragged.holding(lengths, ids == LIBRARY)] = True
        return ids, begins, ends, lengths, left
