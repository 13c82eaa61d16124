"""Texts as the blocks that vocabularies take, and what goes wrong in tokenizers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np

from tokenreel import ragged

# Spaces of every kind, nothings, what is joined with its neighbours, what no model knows.
NASTY = [
    *" \t\n\r\0\v\f\x1c\x85", "  ", "   ", "\r\n", "\n\n    ", "\u00a0", "\u2002", "\u2028", "\u2029", "\u3000", "\u202f",
    "\u200b", "\u200d", "\ufeff", "\u00ad", "\u180e", "▁", "▁▁", "a", "A", "the", " the", "The", "ing", "?", "??", "...", ".", ",",
    "é", "e\u0301", "\u0301", "ß", "ﬁ", "Å", "½", "①", "㍿", "ｱ", "ﾞ", "한", "\u1112\u1161\u11ab", "日本語", "、", "。", "\u00a8", "\u2017",
    "שלום", "עִבְרִית", "مرحبا", "ﷺ", "мир", "при", "наряд", "हिन्दी", "👍🏽", "👩\u200d👩\u200d👧", "🇩🇪", "\U0010ffff",
    "<s>", "</s>", "<unk>", "<0x0A>", "<sep>", "[REF_1]", "[REF_", "the cat", "Red", "~", "~~", "\x7f", "^", "`", "0", "12", "_",
    "__init__", "(", ")",
]  # fmt: skip


def joined(parts: Sequence[bytes]):
    """Sequences of bytes end to end, and their bounds."""
    return np.frombuffer(b"".join(parts), dtype=np.uint8), ragged.offsets_of(np.array([len(part) for part in parts], dtype=np.int64))


def hashed(units: Sequence[bytes], flags: Sequence[int]):
    """Units as the kernels of words give them: bytes end to end, int32 bounds, hashes and flags."""
    from tokenreel.vocabularies.unit_memo.kernels import word_units

    text, bounds = joined(units)
    hashes = [word_units.hash_of(text, begin, end, flag) for (begin, end), flag in zip(itertools.pairwise(bounds), flags, strict=True)]
    return text, bounds.astype(np.int32), np.array(hashes, dtype=np.uint64), np.array(flags, dtype=np.uint8)


def block(documents: Sequence[str]):
    """Documents end to end in UTF-8, and their bounds."""
    return joined([document.encode() for document in documents])


def split(values, lengths) -> list[list[int]]:
    """The values of each sequence, from all of them end to end and the length of each."""
    return [part.tolist() for part in np.split(values, np.cumsum(lengths))[:-1]]


def nasty_documents(count: int, seed: int) -> list[str]:
    chooser = random.Random(seed)
    return ["".join(chooser.choices(NASTY, k=chooser.choice([0, 1, 2, 3, 8, 30]))) for _ in range(count)]
