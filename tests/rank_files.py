"""Small files of ranks: trained ones, and those that no training would make."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable, Mapping
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from tokenreel.vocabularies.fast_path import byte_letters


def trained(texts: Iterable[str], size: int = 1500) -> dict[bytes, int]:
    """Pieces and their ranks, as byte-level BPE learns them from texts without bounds of words, so that a wrong cut shows."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]{12}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    letters = byte_letters()
    return {bytes(letters[letter] for letter in piece): i for piece, i in tokenizer.get_vocab().items()}


def chance(seed: int, alphabet: bytes = b"abc") -> dict[bytes, int]:
    """Pieces of a few letters with ranks by chance: many are no result of merging, and many have several pairs that join into them."""
    random_ = random.Random(seed)
    pieces = {bytes(random_.choices(alphabet, k=random_.choice([2, 2, 3, 3, 4, 5, 8]))) for _ in range(random_.choice([3, 10, 40, 150]))}
    whole = [bytes([byte]) for byte in range(256)] + sorted(pieces)
    random_.shuffle(whole)
    return {piece: rank for rank, piece in enumerate(whole)}


def write(ids: Mapping[bytes, int]) -> bytes:
    """A `.tiktoken` file."""
    lines = (b"%s %d\n" % (base64.b64encode(piece), i) for piece, i in sorted(ids.items(), key=lambda each: each[1]))
    return b"".join(lines)


def tekken(ids: Mapping[bytes, int], pattern: str, special: int = 30, named: Any = None) -> dict[str, Any]:
    """A `tekken.json`, which begins with all bytes in their order, and has three pieces more than it counts."""
    pieces = [bytes([byte]) for byte in range(256)]
    pieces += [piece for piece in sorted(ids, key=ids.__getitem__) if len(piece) > 1]
    vocab = [{"rank": i, "token_bytes": base64.b64encode(piece).decode(), "token_str": None} for i, piece in enumerate(pieces)]
    config = {"pattern": pattern, "num_vocab_tokens": len(vocab), "default_vocab_size": len(vocab) + special - 3, "version": "v3"}
    content = {"config": {**config, "default_num_special_tokens": special}, "vocab": vocab}
    return content if named is None else {**content, "special_tokens": named}


def write_tekken(content: Mapping[str, Any]) -> bytes:
    """The bytes of a `tekken.json`."""
    return json.dumps(content).encode()


def library(ids: Mapping[bytes, int], pattern: str, special: Mapping[str, int] | None = None) -> Any:
    """Tiktoken with some ranks."""
    import tiktoken

    return tiktoken.Encoding("test", pat_str=pattern, mergeable_ranks=dict(ids), special_tokens=dict(special or {}))
