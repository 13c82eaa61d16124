"""SentencePiece BPE models as the `tokenizer.json` files that models ship, made by the rules that everybody converts them by."""

from __future__ import annotations

from typing import Any

import sentencepiece

PREPEND = {"type": "Prepend", "prepend": "▁"}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def merges_of(scores: dict[str, float], ids: dict[str, int]) -> list[list[str]]:
    """Lists the two pieces that each piece may be made of: by the score of what they make, and then by their lengths and ids."""
    merges = []
    for piece, score in scores.items():
        pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
        merges += [(score, left, right) for left, right in sorted(pairs, key=lambda pair: (ids[pair[0]], ids[pair[1]]))]
    merges.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    return [[left, right] for _, left, right in merges]


def to_tokenizer_json(data: bytes) -> dict[str, Any]:
    """Converts the bytes of a model with byte fallback as Llama's and Mistral's were."""
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    ids = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    control = [i for i in ids.values() if model.is_control(i) or model.is_unknown(i)]
    scores = {piece: model.get_score(i) for piece, i in ids.items() if i not in control and not model.is_byte(i)}
    settings = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": model.id_to_piece(i), "special": True, **settings} for i in control],
        "normalizer": {"type": "Sequence", "normalizers": [PREPEND, REPLACE]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "unk_token": model.id_to_piece(model.unk_id()),
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": merges_of(scores, ids),
        },
    }
