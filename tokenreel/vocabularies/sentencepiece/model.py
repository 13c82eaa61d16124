"""Reads what a SentencePiece model says about itself, and finds where a text may be cut without changing its tokens.

The model file is a protobuf message, `sentencepiece_model.proto` of the library, read here without its generated module.
"""

from __future__ import annotations

import dataclasses
import functools
import struct

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.format import wire

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # ModelProto.SentencePiece.Type
UNIGRAM, BPE, WORD, CHAR = range(1, 5)  # TrainerSpec.ModelType
SPACE = 0x20
SPACE_SYMBOL = "▁".encode()  # how pieces write a space

# Further `normalizer_spec` messages: protobuf merges a repeated message into the first, so that appending one changes single settings.
MID_TEXT = b"\x1a\x04\x18\x00\x20\x00"  # add_dummy_prefix and remove_extra_whitespaces off: encodes as if in the middle of a text
PREFIX = b"\x1a\x02\x18\x01"  # add_dummy_prefix
NO_PREFIX = b"\x1a\x02\x18\x00"


def user_symbol(piece: str) -> bytes:
    """Makes the bytes that append a user-defined piece (below 100 bytes) to a model; its id is the next."""
    name = piece.encode()
    message = b"\x0a" + bytes([len(name)]) + name + b"\x15" + bytes(4) + b"\x18" + bytes([USER_DEFINED])
    return b"\x0a" + bytes([len(message)]) + message


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a normaliser replaces (the longest match at each place, in one pass), as far as cuts need it.

    Attributes:
      first, last: [rules] uint8 the first and the last byte of what is replaced.
      out_first, out_last: [rules] uint8 those of the replacement; 0 where it is empty.
      out_bytes: [rules] int64 the length of the replacement.
      single: [256] bool whether a rule replaces this byte alone.
      pairs: [256, 256] bool whether a rule replaces something that holds these two bytes side by side.
      replacements: all replacements, each ended by NUL.
      trie: [units] uint32, the Darts double array that finds where a replacement begins in them.
    """

    first: npt.NDArray[np.uint8]
    last: npt.NDArray[np.uint8]
    out_first: npt.NDArray[np.uint8]
    out_last: npt.NDArray[np.uint8]
    out_bytes: npt.NDArray[np.int64]
    single: npt.NDArray[np.bool_]
    pairs: npt.NDArray[np.bool_]
    replacements: bytes
    trie: npt.NDArray[np.uint32]


@dataclasses.dataclass(frozen=True)
class Model:
    """A SentencePiece model.

    Attributes:
      pieces: UTF-8 of each piece, by id.
      scores: [pieces] float32.
      types: [pieces] uint8 `NORMAL`, `USER_DEFINED`, ...
      kind: `UNIGRAM`, `BPE`, `WORD` or `CHAR`.
      byte_fallback: characters without a piece become bytes.
      space_suffix: spaces end words instead of beginning them.
      dummy_prefix, collapse, escape: the normaliser begins texts with a space, strips and collapses spaces, writes spaces as U+2581.
      rules: what the normaliser replaces.
    """

    pieces: list[bytes]
    scores: npt.NDArray[np.float32]
    types: npt.NDArray[np.uint8]
    kind: int
    byte_fallback: bool
    space_suffix: bool
    dummy_prefix: bool
    collapse: bool
    escape: bool
    rules: Rules

    def of_type(self, *types: int) -> list[bytes]:
        """Lists the pieces of some types."""
        return [self.pieces[i] for i in np.flatnonzero(np.isin(self.types, types)).tolist()]


def parse(data: bytes) -> Model:
    """Reads a .model file.

    Raises:
      ValueError: the bytes are no model.
    """
    pieces: list[bytes] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, content in wire.fields(data):
        if number == 1:
            piece = dict(wire.fields(_message(content)))
            pieces.append(_message(piece.get(1, b"")))
            scores.append(struct.unpack("<f", _message(piece.get(2, bytes(4))))[0])
            types.append(int(piece.get(3, NORMAL)))
        elif number == 2:
            trainer.update(wire.fields(_message(content)))
        elif number == 3:
            normalizer.update(wire.fields(_message(content)))
    return Model(
        pieces=pieces,
        scores=np.array(scores, dtype=np.float32),
        types=np.array(types, dtype=np.uint8),
        kind=int(trainer.get(3, UNIGRAM)),
        byte_fallback=bool(trainer.get(35, 0)),
        space_suffix=bool(trainer.get(24, 0)),
        dummy_prefix=bool(normalizer.get(3, 1)),
        collapse=bool(normalizer.get(4, 1)),
        escape=bool(normalizer.get(5, 1)),
        rules=read_charsmap(_message(normalizer.get(2, b""))),
    )


@functools.lru_cache(maxsize=2)  # a job asks when it begins and when it ends
def piece_types(data: bytes) -> tuple[int, ...]:
    """Reads `NORMAL`, `CONTROL`, ... of each piece of a .model file, without the normaliser's rules, which take `parse` most of its time.

    Raises:
      ValueError: the bytes are no model.
    """
    return tuple(_type_of(_message(content)) for number, content in wire.fields(data) if number == 1)


def _type_of(piece: bytes) -> int:
    """Reads the type of a piece from its message."""
    if len(piece) > 2 and piece[0] == 0x0A and piece[1] < 0x80 and len(piece) == piece[1] + 7 and piece[piece[1] + 2] == 0x15:
        return NORMAL  # a name and a score, with nothing behind: nearly all pieces
    return int(dict(wire.fields(piece)).get(3, NORMAL))


def _message(value: int | bytes) -> bytes:
    """Returns the bytes of a message or string as they are; raises ValueError for a number."""
    if isinstance(value, int):
        raise ValueError("a message holds a number where a string belongs: these bytes are no SentencePiece model")
    return value


@functools.lru_cache(maxsize=2)  # nearly all models come with the same rules
def read_charsmap(data: bytes) -> Rules:
    """Reads the rules of a precompiled normaliser.

    The format: the size of a Darts double-array trie (uint32), the trie, and the replacements, each ended by NUL. A unit of the trie holds
    a label (low 8 bits and the top one), whether a value hangs on it (bit 8) and where its children are; a value's unit has the top bit.
    NFKC has 200,000 rules, so that the children of all nodes of one depth are looked up at once.

    Raises:
      ValueError: the bytes are no charsmap.
    """
    nothing = np.zeros(0, dtype=np.uint8)
    single, pairs = np.zeros(256, dtype=bool), np.zeros((256, 256), dtype=bool)
    if not data:
        return Rules(nothing, nothing, nothing, nothing, np.zeros(0, dtype=np.int64), single, pairs, b"", np.zeros(0, dtype=np.uint32))
    if len(data) < 8 or (size := int.from_bytes(data[:4], "little")) > len(data) - 4 or size % 4 or not size or data[-1]:
        raise ValueError("the normaliser's charsmap is cut short")
    units = np.frombuffer(data, dtype="<u4", count=size // 4, offset=4)
    text = np.frombuffer(data, dtype=np.uint8, offset=4 + size)

    def children_at(unit: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        return ((unit >> 10) << ((unit & (1 << 9)) >> 6)).astype(np.int64)

    # Every unit that may be a child, sorted by what its node's base then is, and by label: a node's children lie side by side.
    label_of = units & 0xFF
    child_of = np.flatnonzero((label_of > 0) & (units < 1 << 31))
    base_of = child_of ^ label_of[child_of]
    order = np.lexsort((label_of[child_of], base_of))
    child_of, base_of = child_of[order], base_of[order]
    found = [(nothing, nothing, np.zeros(0, dtype=np.int64))]  # first byte, last byte, where the replacement starts
    firsts = lasts = np.zeros(1, dtype=np.uint8)
    base = children_at(units[:1])  # [nodes] the children of a node are at base ^ label
    depth = 0
    while len(base):
        begin, end = (np.searchsorted(base_of, base, side=side) for side in ("left", "right"))
        node = np.repeat(np.arange(len(base)), end - begin)
        places = child_of[np.repeat(begin, end - begin) + ragged.ranks(end - begin)]
        label = label_of[places].astype(np.uint8)
        if depth:
            pairs[lasts[node], label] = True
        firsts, lasts = (firsts[node] if depth else label), label
        base = places ^ children_at(units[places])
        ends = (units[places] & (1 << 8)) != 0
        found.append((firsts[ends], lasts[ends], (units[base[ends]] & 0x7FFFFFFF).astype(np.int64)))
        if not depth:
            single[lasts[ends]] = True
        depth += 1
    first, last, starts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if starts.max(initial=0) >= len(text):
        raise ValueError("the normaliser's charsmap points behind its end")
    stops = np.flatnonzero(text == 0)
    stop = stops[np.searchsorted(stops, starts)]
    out_last = np.where(stop > starts, text[np.maximum(stop - 1, 0)], 0).astype(np.uint8)
    return Rules(first, last, text[starts], out_last, stop - starts, single, pairs, text.tobytes(), units)


@dataclasses.dataclass(frozen=True)
class Cuts:
    """Where a text may be cut.

    Attributes:
      allowed: [65536] bool whether a cut between two adjacent bytes changes no token; indexed by `second << 8 | first`, as two bytes are
        read as a little-endian uint16.
      careful: the same for texts that hold U+2581, which is what the normaliser writes for a space.
      plain_spaces: [256] bool ASCII that is always a space alone, to be collapsed with its like; all False if nothing is collapsed.
    """

    allowed: npt.NDArray[np.bool_]
    careful: npt.NDArray[np.bool_]
    plain_spaces: npt.NDArray[np.bool_]


def find_cuts(model: Model) -> Cuts:
    """Finds the pairs of bytes between which a text may be cut, so that encoding the parts equals encoding the whole.

    A cut is safe where no piece can lie across it (in BPE no merge, in a unigram lattice no edge, joins the two sides; a word ends there),
    no rule of the normaliser and no user symbol does, and spaces on both sides are not collapsed. All of it is decided for bytes: of the
    raw text, and of the normalised text that they may begin or end. Unknown characters on both sides are joined to one <unk> by whoever
    joins the ids.
    """
    # ends[a, x]: a part of the raw text that ends with byte a may, normalised, end with byte x; begins, likewise.
    ends, begins = np.zeros((256, 256), dtype=np.float32), np.zeros((256, 256), dtype=np.float32)
    empty_end, empty_begin = np.zeros(256, dtype=bool), np.zeros(256, dtype=bool)
    plain = np.flatnonzero(~model.rules.single)
    ends[plain, plain] = begins[plain, plain] = 1
    rules, out = model.rules, model.rules.out_first != 0
    ends[rules.last[out], rules.out_last[out]] = begins[rules.first[out], rules.out_first[out]] = 1
    empty_end[rules.last[~out]] = empty_begin[rules.first[~out]] = True
    within = rules.pairs.copy()
    for symbol in model.of_type(USER_DEFINED):  # the normaliser leaves them as they are
        ends[symbol[-1], symbol[-1]] = begins[symbol[0], symbol[0]] = 1
        within[list(symbol[:-1]), list(symbol[1:])] = True
    # A space byte that no rule and no symbol takes together with its neighbours, and that becomes a space or stays one.
    alone = ~(within.any(axis=0) | within.any(axis=1)) & ~empty_end & (ends.sum(axis=1) == 1) & (ends[:, SPACE] == 1)
    alone[0x80:] = False
    one_space = np.zeros(256, dtype=bool)
    one_space[rules.first[(rules.out_first == SPACE) & (rules.out_bytes == 1)]] = True
    one_space[SPACE] |= not rules.single[SPACE]
    within |= empty_end[:, None] | empty_begin
    within[:, 0x80:0xC0] = True  # inside a character

    allowed = ~(within | _joined(model, ends, begins))
    if model.escape:  # U+2581 in the text, or as a replacement, is a space to the pieces
        ends[:, SPACE] = np.maximum(ends[:, SPACE], ends[:, SPACE_SYMBOL[-1]])
        begins[:, SPACE] = np.maximum(begins[:, SPACE], begins[:, SPACE_SYMBOL[0]])
    careful = ~(within | _joined(model, ends, begins))
    if model.escape and SPACE_SYMBOL in rules.replacements:
        allowed = careful
    spaces = alone & one_space & model.collapse
    return Cuts(np.ascontiguousarray(allowed.T).ravel(), np.ascontiguousarray(careful.T).ravel(), spaces)


def _joined(model: Model, ends: npt.NDArray[np.float32], begins: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Tells which bytes of the raw text may belong together once they are normalised: [256, 256] bool; takes those of `find_cuts`."""
    space_end, space_begin = ends[:, SPACE] > 0, begins[:, SPACE] > 0
    if model.kind == WORD:  # a space surely begins a word
        joined = np.broadcast_to(~(space_begin & (begins.sum(axis=1) == 1)), (256, 256))
    else:
        # A piece writes a space as U+2581; here it is the byte 0x20 again. Where spaces are escaped, no text has a raw one.
        used = model.of_type(NORMAL, USER_DEFINED, UNUSED)
        if model.escape:
            used = [piece.replace(b" ", b"\xff").replace(SPACE_SYMBOL, b" ") for piece in used]
        text = np.frombuffer(b"\xff".join([b"", *used, b""]), dtype=np.uint8)
        pairs = np.zeros((256, 256), dtype=np.float32)
        pairs[text[:-1], text[1:]] = 1
        pairs[0xFF] = pairs[:, 0xFF] = 0
        joined = (ends @ pairs @ begins.T) > 0
    return joined | (space_end[:, None] & space_begin) if model.collapse else joined


def find_plain_starts(model: Model) -> npt.NDArray[np.bool_]:
    """Finds the bytes whose texts begin with a space once normalised if the byte is a space, and else do not: [256] bool, ASCII only."""
    rules = model.rules
    is_space = rules.out_first == SPACE
    told = np.arange(256) < 0x80
    told[rules.first[(rules.out_first == 0) | (is_space != (rules.first == SPACE))]] = False
    if SPACE_SYMBOL in rules.replacements:
        told[rules.first[rules.out_first == SPACE_SYMBOL[0]]] = False  # some of these are spaces
    return told


def is_encodable(model: Model) -> bool:
    """Tells whether `unit_memo` knows all that a model does.

    It does if there is one piece for unknown characters, and one for each byte where they fall back to bytes. Scores of a unigram model
    must not be above 0, and words of a word model must be told by U+2581.
    """
    normal = model.types == NORMAL
    if int((model.types == UNKNOWN).sum()) != 1 or (model.byte_fallback and int((model.types == BYTE).sum()) != 256):
        return False
    if model.kind == UNIGRAM:
        return bool(normal.any() and np.isfinite(model.scores).all() and model.scores[normal].max() <= 0)
    return model.kind in (BPE, CHAR) or (model.kind == WORD and model.escape)
