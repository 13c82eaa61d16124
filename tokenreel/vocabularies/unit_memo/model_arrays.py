"""The pieces, scores and merges of a SentencePiece model as the arrays that the kernels take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.sentencepiece.model import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Model
from tokenreel.vocabularies.unit_memo.slot_table import Bytes

_UNKNOWN_PENALTY = np.float32(10)  # the library's kUnkPenalty, below the lowest score

_Spelled = tuple[int, int]  # an id, and the byte of the symbol where it ends
Arrays = tuple[Any, ...]  # what Numba takes as a tuple of arrays and numbers


def to_normalizer(model: Model) -> Arrays:
    """Lays out what normalises for `kernels.normalizer`."""
    symbols = trie_of(model.pieces, np.flatnonzero(model.types == USER_DEFINED))
    replacements = np.frombuffer(model.rules.replacements, dtype=np.uint8)
    return model.rules.trie, replacements, symbols, model.dummy_prefix, model.space_suffix, model.collapse, model.escape


def to_unigram(model: Model) -> Arrays:
    """Lays out what a unigram model segments with for `kernels.unigram.encode`."""
    normal, byte_ids = model.types == NORMAL, _byte_ids(model)
    unknown_score = np.float32(model.scores[normal].min() - _UNKNOWN_PENALTY)
    # The library's score of a user-defined symbol, above that of any other piece: a tenth for each byte but one (since 0.2.3).
    sizes = np.fromiter(map(len, model.pieces), dtype=np.int64, count=len(model.pieces))
    scores = np.where(model.types == USER_DEFINED, (0.1 * sizes - 0.1).astype(np.float32), model.scores)
    token_scores = scores.copy()
    token_scores[byte_ids] = unknown_score  # that of the character, at its first byte
    token_scores[byte_ids[0x80:0xC0]] = 0
    token_scores = np.append(token_scores, np.float32(0))  # of the lead
    return (
        trie_of(model.pieces, np.flatnonzero(normal | (model.types == USER_DEFINED))),
        np.concatenate([np.array([-np.inf], dtype=np.float32), scores]),  # at 0, for bytes at which no piece ends
        _unknown(model),
        unknown_score,
        byte_ids,
        token_scores,
    )


def to_merges(model: Model) -> Arrays:
    """Lays out what a model of another kind merges, or looks up, for `kernels.bpe.encode`.

    Symbols are what merges. They are the pieces, and behind them such characters as only pieces of several characters hold: the library
    merges them too.
    """
    from tokenreel.vocabularies.unit_memo.kernels.bpe import build_pairs
    from tokenreel.vocabularies.unit_memo.kernels.piece_words import ASK

    kind, types = model.kind, model.types
    named = np.flatnonzero(types == USER_DEFINED) if kind != sentencepiece_model.WORD else np.zeros(0, dtype=np.int64)
    is_bpe = kind == sentencepiece_model.BPE
    used = types == NORMAL if len(named) else np.isin(types, (NORMAL, USER_DEFINED))
    found = np.flatnonzero(used | (types == UNUSED) if is_bpe else used)
    reserved = np.flatnonzero(np.isin(types, (CONTROL, UNKNOWN, BYTE)))
    symbols = list(model.pieces)
    known = {symbols[i] for i in found.tolist()}
    names = {symbols[i]: i for i in reserved.tolist()}
    made = found[_are_long(symbols, found)] if is_bpe else found[:0]
    extra = sorted({character.encode() for i in made.tolist() for character in symbols[i].decode()} - known - set(names))
    # Names of reserved pieces in the text are looked up first: of these, whole characters and words can be met.
    met = [i for name, i in names.items() if name not in known]
    symbols += extra
    found = np.concatenate([found, np.array(met, dtype=np.int64), np.arange(len(model.pieces), len(symbols))])
    trie = trie_of(symbols, found)
    text, bounds, ids = _sorted_pieces(symbols, made)
    ranks = np.unique(-model.scores, return_inverse=True)[1].astype(np.uint32)[ids] if len(ids) else np.zeros(0, dtype=np.uint32)
    pairs, bits, counts = build_pairs(text, bounds, ids, ranks, trie)
    spelled: dict[int, list[_Spelled]] = {i: [(ASK, 0)] for i in met}
    spelled |= {i: [(ASK, 0)] for i in np.flatnonzero(types != BYTE).tolist() if symbols[i] in names and names[symbols[i]] != i}
    byte_ids, unknown = _byte_ids(model), _unknown(model)
    unused = set(np.flatnonzero(types == UNUSED).tolist()) & set(found.tolist())
    characters = [*enumerate(extra, start=len(model.pieces)), *((i, symbols[i]) for i in unused - set(made.tolist()))]
    for i, character in characters:
        *others, last = byte_ids[list(character)].tolist() if len(byte_ids) else [int(unknown)]
        spelled[i] = [*((other, 0) for other in others), (last, len(character))]  # the last of its bytes has all of it
    _undo_merges(spelled, symbols, found, [(i, n) for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if i in unused])
    plain = np.ones(len(symbols), dtype=bool)
    plain[list(spelled)] = False
    all_spelled = [spelled.get(i, []) for i in range(len(symbols))]
    spelled_ids, stops = np.array([each for one in all_spelled for each in one], dtype=np.int32).reshape(-1, 2).T.copy()
    spelled_bounds = ragged.offsets_of(np.fromiter(map(len, all_spelled), dtype=np.int64, count=len(all_spelled)))
    words = kind == sentencepiece_model.WORD
    symbol_trie = trie_of(symbols, named)
    return trie, symbol_trie, pairs, bits, plain, spelled_ids, stops, spelled_bounds, byte_ids, unknown, words


def _are_long(symbols: list[bytes], which: Ints) -> npt.NDArray[np.bool_]:
    """Tells which pieces have more than one character."""
    return np.fromiter((len(symbols[i].decode()) > 1 for i in which.tolist()), dtype=bool, count=len(which))


def _undo_merges(spelled: dict[int, list[_Spelled]], symbols: list[bytes], found: Ints, unused: list[tuple[int, int]]) -> None:
    """Adds what takes the place of unused pieces, given with the number of pairs that become each: the pair that was merged.

    The library remembers one pair for each unused piece, the last one that it met in the text; so units tell it only if there is one.
    """
    from tokenreel.vocabularies.unit_memo.kernels.piece_words import ASK

    ids = {symbols[i]: i for i in found.tolist()}
    for i, pairs in sorted(unused, key=lambda each: len(symbols[each[0]])):  # the parts of a piece are shorter
        spelled[i] = [(ASK, 0)]
        if pairs == 1:
            piece = symbols[i]
            (halves,) = [
                ((ids[piece[:at]], 0, at), (ids[piece[at:]], at, len(piece)))
                for at in range(1, len(piece))
                if piece[:at] in ids and piece[at:] in ids
            ]
            spelled[i] = [(token, begin + stop) for part, begin, end in halves for token, stop in spelled.get(part, [(part, end - begin)])]


def _unknown(model: Model) -> np.int32:
    return np.int32(np.flatnonzero(model.types == UNKNOWN)[0])


def _byte_ids(model: Model) -> npt.NDArray[np.int32]:
    """Lists the pieces of bytes: [256] int32, or empty without byte fallback."""
    ids = np.zeros(256 if model.byte_fallback else 0, dtype=np.int32)
    for i in np.flatnonzero(model.types == BYTE).tolist() if model.byte_fallback else ():
        ids[int(model.pieces[i][1:-1], 16)] = i
    return ids


def _sorted_pieces(pieces: list[bytes], which: Ints) -> tuple[Bytes, Ints, npt.NDArray[np.int32]]:
    """Sorts some pieces by their bytes; gives [bytes] uint8 end to end, [k + 1] int64 bounds, and [k] int32 ids."""
    order = sorted(which.tolist(), key=pieces.__getitem__)
    sizes = np.fromiter((len(pieces[i]) for i in order), dtype=np.int64, count=len(order))
    text = np.frombuffer(b"".join([pieces[i] for i in order]), dtype=np.uint8)
    return text, ragged.offsets_of(sizes), np.array(order, dtype=np.int32)


def trie_of(pieces: list[bytes], which: Ints) -> Ints:
    """Builds a trie of some of the pieces: int64, as `kernels.trie.build_trie` gives it, or empty if there are none."""
    from tokenreel.vocabularies.unit_memo.kernels.trie import build_trie

    if not len(which):
        return np.zeros(0, dtype=np.int64)
    trie: Ints = build_trie(*_sorted_pieces(pieces, which))
    return trie
