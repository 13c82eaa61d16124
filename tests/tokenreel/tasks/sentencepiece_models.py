"""A SentencePiece model made by hand: 26 pieces, so that the ids of a text can be told in advance."""

from __future__ import annotations

import pathlib
import struct

PIECES = (
    ("<pad>", 0), ("</s>", 0), ("<unk>", 0), ("▁", -2.18155), ("e", -2.48085), ("a", -2.68045), ("s", -2.69107), ("o", -2.6911),
    ("i", -2.9411), ("l", -2.9411), ("▁test", -2.94114), ("▁th", -3.27443), (":", -3.27443), ("c", -3.27443), ("m", -3.27443),
    ("p", -3.27443), ("te", -3.29707), ("▁w", -3.77443), ("at", -3.80611), ("w", -4.77423), ("h", -4.77433), ("d", -4.77443),
    ("n", -4.77443), ("r", -4.77443), ("t", -4.77443), ("v", -4.77443),
)  # fmt: skip
_TYPES = {0: 3, 1: 3, 2: 2}  # control, control, unknown


def _field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def model() -> bytes:
    """A unigram model without a normaliser's rules: pad 0, eos 1, unk 2, no bos."""
    data = b""
    for i, (piece, score) in enumerate(PIECES):
        data += _field(1, _field(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, _TYPES.get(i, 1)]))
    # trainer_spec: model_type unigram, unk_id, bos_id -1, eos_id, pad_id.
    no_bos = b"\xc8\x02" + b"\xff" * 9 + b"\x01"
    return data + _field(2, b"\x18\x01" + b"\xc0\x02\x02" + no_bos + b"\xd0\x02\x01" + b"\xd8\x02\x00") + _field(3, _field(1, b"identity"))


def write(directory: pathlib.Path) -> str:
    """Writes the model and gives its path."""
    path = directory / "test.model"
    path.write_bytes(model())
    return str(path)
