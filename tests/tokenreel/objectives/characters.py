"""A vocabulary of characters, and examples in it."""

import numpy as np

CHARACTERS = [None, None, None, *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,é"]
VOCAB = len(CHARACTERS)
PAD, MASK, SEP = 0, 1, 2


def encode(text):
    return [CHARACTERS.index(c) for c in text]


def decode(ids):
    return "".join(CHARACTERS[i] or "?" for i in ids)


def examples(n, seq_len, seed=0):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(3, VOCAB, (n, seq_len)).astype(np.uint16)
    num_tokens = rng.integers(0, seq_len + 1, n)
    tokens[rng.random(tokens.shape) < 0.05] = SEP
    tokens[np.arange(seq_len) >= num_tokens[:, None]] = PAD
    starts = (rng.random(tokens.shape) < 0.1) & (np.arange(seq_len) < num_tokens[:, None])
    return {"tokens": tokens, "document_starts": starts, "num_tokens": num_tokens}
