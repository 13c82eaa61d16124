"""What tests of features ask of a model, and its answers worked out another way."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.model_features.extractor import Asked


def log_softmax(logits: Any) -> npt.NDArray[np.float64]:
    """Turns logits, [..., V], into log-probabilities."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def asked(*, vocab_size: int, top_k: int, layers: tuple[tuple[str, str, str], ...] = ()) -> Asked:
    """Asks for log-probabilities and the largest logits, by the head that there is."""
    return Asked(
        inputs={},
        head="auto",
        head_layer=None,
        hidden=None,
        logits=True,
        logprobs=True,
        top_k=top_k,
        top_k_dtype="float32",
        layers=layers,
        vocab_size=vocab_size,
    )
