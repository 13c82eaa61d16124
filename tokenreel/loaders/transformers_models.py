"""What `to_transformers` has to know about a model: what it is trained for, where its positions begin, how it keeps documents apart.

Importing this module imports neither Torch nor transformers; a model that was given has imported both.

Tested in tests/tokenreel/loaders/test_to_transformers.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError

CAUSAL, MASKED, ENCODER_DECODER = KINDS = ("causal", "masked", "encoder_decoder")
BY_POSITIONS, BY_MASK, BY_LENGTHS = ISOLATIONS = ("positions", "mask", "lengths")
PAIR_LABELS = ("next_sentence_label", "sentence_order_label")  # of BERT's and ALBERT's models for pretraining
_LEAK = 1e-3  # how much of a change in one document may be seen in another: rounding is a thousand times less, attention ten times more


def unwrap(model: Any) -> Any:
    """Gives the transformers model inside DDP, `torch.compile`, PEFT or another wrapper that keeps it as an attribute."""
    for name in ("module", "_orig_mod"):
        if (inner := getattr(model, name, None)) is not None and hasattr(inner, "forward"):
            return unwrap(inner)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class ModelFacts:
    """What is asked of a model, in one place.

    Args:
      model: a transformers model without its wrappers.
      kind: one of `KINDS`; None finds it out by the class.

    Attributes:
      model: the same.
      name: of its class.
      kind: what it is trained for.
      attention: name of its attention implementation.
      first_position: the id of the first position: 0, but in models of RoBERTa's kind, where positions follow the padding id.
      mask_dtype: name of the dtype in which the model adds a mask to its scores; None where it takes booleans.

    Raises:
      ConfigError: the kind cannot be told, or is unknown.
    """

    def __init__(self, model: Any, kind: str | None = None) -> None:
        self.model, self.name, self.config = model, type(model).__name__, model.config
        self._parameters = inspect.signature(model.forward).parameters
        self._takes_any = any(each.kind is each.VAR_KEYWORD for each in self._parameters.values())
        self.kind = self._kind() if kind is None else kind
        if self.kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.attention = getattr(self.config, "_attn_implementation", None) or "eager"
        self.first_position = self._first_position()
        self.mask_dtype = None if self.attention == "sdpa" else str(model.dtype).removeprefix("torch.")

    def takes(self, argument: str) -> bool:
        """Says whether `forward` has a parameter of this name."""
        return argument in self._parameters

    def accepts(self, argument: str) -> bool:
        """Says whether `forward` has a parameter of this name, or hands on whatever it is given."""
        return self._takes_any or argument in self._parameters

    def _kind(self) -> str:
        if getattr(self.config, "is_encoder_decoder", False):
            return ENCODER_DECODER
        from transformers.models.auto import modeling_auto

        names = {each.__name__ for each in type(self.model).__mro__}
        if names & set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()) or any(map(self.takes, PAIR_LABELS)):
            return MASKED
        if names & set(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()):
            return CAUSAL
        raise ConfigError(
            f"{self.name} is none of the classes that transformers lists for causal, masked or encoder-decoder language models: give kind, "
            f"one of {', '.join(KINDS)}"
        )

    def _first_position(self) -> int:
        for module in self.model.modules():
            padding = getattr(getattr(module, "position_embeddings", None), "padding_idx", None)
            if padding is not None:
                return int(padding) + 1
        return 0

    @property
    def positions(self) -> int | None:
        """Positions that a document may have; None where they are computed, not learned."""
        for module in self.model.modules():
            for name in ("position_embeddings", "wpe", "embed_positions"):
                table = getattr(module, name, None)
                if (count := getattr(table, "num_embeddings", None)) is not None:
                    return int(count) - self.first_position - int(getattr(table, "offset", 0))
        return None

    @property
    def vocab_size(self) -> int | None:
        """Token ids that the model has embeddings for; None where that cannot be told."""
        count = getattr(self.model.get_input_embeddings(), "num_embeddings", None)
        return None if count is None else int(count)

    def takes_shifted_labels(self) -> bool:
        """Says whether the loss takes `shift_labels`, which do not end where the inputs do."""
        loss = getattr(self.model, "loss_function", None)
        return self._takes_any and loss is not None and "shift_labels" in inspect.signature(loss).parameters

    def isolation(self, *, prefix: bool) -> str:
        """Finds how the model can be told to keep the documents of a row apart.

        Args:
          prefix: whether the prefixes of documents are read in both directions.

        Returns:
          one of `ISOLATIONS`.

        Raises:
          ConfigError: it cannot.
        """
        needs_mask = self.kind == MASKED or prefix
        if self.attention.startswith("flash_attention") and not prefix:
            return BY_LENGTHS
        if self.attention in ("eager", "sdpa", "flex_attention") and not needs_mask:
            if not self.takes("position_ids"):
                raise ConfigError(f"{self.name} takes no position_ids, by which it would keep the documents of a row apart. {WAYS_OUT}")
            return BY_POSITIONS
        if self.attention in ("eager", "sdpa"):
            if windows := sorted(set(getattr(self.config, "layer_types", None) or ()) - {"full_attention"}):
                raise ConfigError(
                    f"{self.name} has layers of {', '.join(windows)}, and one mask of [n, 1, L, L] for all layers would make full ones "
                    f"of them. Load it with attn_implementation='flash_attention_2'. {WAYS_OUT}"
                )
            return BY_MASK
        what = "read the prefix of a document in both directions" if prefix else "keep the documents of a row apart"
        raise ConfigError(
            f"{self.name} with attn_implementation={self.attention!r} cannot {what}: load it with attn_implementation='sdpa'"
            f"{'' if prefix else ' or flash_attention_2'}. {WAYS_OUT}"
        )


WAYS_OUT = "Or build with packing.mode pad, one document in a row; or let documents read each other with isolate=False."


def check_isolation(model: Any, arguments: Callable[[np.ndarray, np.ndarray], dict[str, Any]], vocab_size: int) -> None:
    """Tries on two documents in a row whether a model's outputs for the second depend on the first.

    Args:
      model: whose weights are all on one device.
      arguments: makes `forward`'s of int32 [1, 8] tokens and their bool [1, 8] document starts, without labels.
      vocab_size: ids to try.

    Raises:
      ConfigError: they do.
    """
    import torch

    parameters = next(model.parameters(), None)
    if parameters is None or parameters.is_meta:
        return
    if parameters.device.type == "cpu" and getattr(model.config, "_attn_implementation", "").startswith("flash_attention"):
        return  # its kernels run on an accelerator alone
    tokens = np.arange(8, dtype=np.int32)[None] % vocab_size
    starts = np.isin(np.arange(8), (0, 4))[None]
    changed = tokens.copy()
    changed[:, :4] = (changed[:, :4] + vocab_size // 2) % vocab_size
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            first, second = (_logits(model, arguments(each, starts), parameters.device) for each in (tokens, changed))
    finally:
        model.train(training)
    moved = (first - second).abs().amax(dim=-1)[0]
    if float(moved[4:].max()) > _LEAK * float(moved[:4].max()):
        raise ConfigError(
            f"{type(model).__name__} lets the documents of a row read each other with attn_implementation="
            f"{getattr(model.config, '_attn_implementation', None)!r}: a change in the first moved the outputs of the second. {WAYS_OUT}"
        )


def _logits(model: Any, arguments: dict[str, Any], device: Any) -> Any:
    moved = {name: value.to(device) if hasattr(value, "to") else value for name, value in arguments.items()}
    return model(**moved).logits.float()
