"""Examples for objectives, of random tokens."""

import numpy as np

VOCAB = 1000
EOS = 1


def text(n, length, seed=0):
    return np.random.default_rng(seed).integers(2, 800, (n, length)).astype(np.uint16)


def ragged(n, length, seed=0):
    num_tokens = np.random.default_rng(seed + 1).integers(0, length + 1, n)
    tokens = text(n, length, seed)
    tokens[np.arange(length) >= num_tokens[:, None]] = 0
    return {"tokens": tokens, "num_tokens": num_tokens}
