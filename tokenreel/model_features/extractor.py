"""A model and what is kept of what it says: one graph that gives log-probabilities, the largest logits and intermediate outputs.

Logits never leave the device: of a batch of 8 x 1,024 tokens and 50,257 ids they would be 1.6 GB.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError, ConfigError
from tokenreel.format.features import LAYER, LOG_NORMALIZER, LOGPROBS, TOPK_IDS, TOPK_VALUES, FeatureSpec
from tokenreel.format.schema import EXAMPLE_ID, token_dtype
from tokenreel.model_features.keras_models import OUTPUT, capture, functional, input_names, is_of_keras_hub, layers_of
from tokenreel.model_features.predictions import MASKED, SEQUENCE, Arranged, Predicting

_TARGETS, _POSITIONS = "tokenreel_targets", "tokenreel_positions"
_MASK_INPUT = "mask_positions"  # of models that predict there alone
_MAIN = ("decoder_sequence_output", "sequence_output")  # of models with several outputs
Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What is wanted of a model.

    Attributes:
      inputs: fields of the dataset by the names of the model's inputs, where they are not found by these.
      head: `auto`, `output`, `embedding`, `layer` or `none`.
      head_layer, hidden: names of layers, see `HeadConfig`.
      logits: whether any are needed.
      logprobs: whether the log-probabilities are kept.
      top_k: how many logits are kept.
      top_k_dtype: that they are stored in.
      layers: (name, pool, dtype) of intermediate outputs.
      vocab_size: of the dataset.
    """

    inputs: Mapping[str, str]
    head: str
    head_layer: str | None
    hidden: str | None
    logits: bool
    logprobs: bool
    top_k: int
    top_k_dtype: str
    layers: tuple[tuple[str, str, str], ...]
    vocab_size: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extracted:
    """What a model says of a batch.

    Attributes:
      logprobs: float32 [n, T], 0 where nothing is predicted; None without logits.
      arrays: {feature: [n, ...]} as they are stored, padding included.
      lengths: {feature: int64 [n]} of the first axis without padding.
    """

    logprobs: npt.NDArray[np.float32] | None
    arrays: Mapping[str, Array]
    lengths: Mapping[str, npt.NDArray[np.int64]]

    def examples(self, first: int, rows: int) -> list[dict[str, Any]]:
        """Cuts the first `rows` into records, of examples from number `first` on."""
        return [
            {EXAMPLE_ID: np.int64(first + row)}
            | {
                name: values[row, : self.lengths[name][row]] if name in self.lengths else values[row]
                for name, values in self.arrays.items()
            }
            for row in range(rows)
        ]


class Extractor:
    """Calls a model on batches of one size.

    Args:
      model: functional.
      predicting: what is predicted in the dataset.
      asked: what is wanted.

    Attributes:
      predicting: as given, with what the model means by `segment_ids`.
      fields: the dataset's field behind each of the model's inputs.

    Raises:
      ConfigError: the model lacks a layer or an input has no field.
    """

    def __init__(self, model: Any, predicting: Predicting, asked: Asked) -> None:
        self._asked, self._lock = asked, threading.Lock()
        self.predicting = dataclasses.replace(predicting, keras_segments=is_of_keras_hub(model))
        names = input_names(model)
        model = functional(model)
        if unknown := sorted(set(asked.inputs) - set(names)):
            raise ConfigError(f"inputs.{unknown[0]}: the model has no such input; it has {', '.join(names)}")
        self.fields = {name: self.predicting.field_of(name, asked.inputs) for name in names}
        self._graph, self._vocab_size = self._build(model)

    def _build(self, model: Any) -> tuple[Any, int]:
        """Makes the graph; gives it, and how many ids there are logits of (0 without)."""
        import keras

        asked = self._asked
        hidden = [asked.hidden] if asked.hidden is not None and not _is_output(model, asked.hidden) else []
        inside = [name for name, _, _ in asked.layers if not _is_output(model, name)]
        captured = capture(model, {*hidden, *inside})
        given = {tensor.name: tensor for tensor in captured.inputs}
        found = captured.output
        outputs = found[OUTPUT]
        made = {LAYER + name: _pick(found, outputs, name) for name, _, _ in asked.layers}
        vocab_size = 0
        if asked.logits:
            targets = keras.Input((None,), dtype="int32", name=_TARGETS)
            given[_TARGETS] = targets
            at = None
            if self.predicting.kind == MASKED and _MASK_INPUT not in given:
                at = given[_POSITIONS] = keras.Input((None,), dtype="int32", name=_POSITIONS)
            logits = keras.ops.cast(self._logits(model, found, at), "float32")
            vocab_size = int(logits.shape[-1])
            self._check_vocabulary(vocab_size)
            made |= _summaries(logits, targets, asked.top_k)
        return keras.Model(given, made), vocab_size

    def _check_vocabulary(self, size: int) -> None:
        if size < self._asked.vocab_size:
            raise ConfigError(
                f"head: the model has logits of {size:,} ids, and the dataset's vocabulary {self._asked.vocab_size:,}. Give the model that "
                "was trained on this vocabulary, or say in head.kind and head.hidden where its logits come from"
            )
        if self._asked.top_k > size:
            raise ConfigError(f"logits.top_k: {self._asked.top_k:,} of {size:,} ids; take fewer")

    def _logits(self, model: Any, found: Mapping[str, Any], at: Any) -> Any:
        """Makes the logits, [B, T, V]: at the mask positions alone where `at`, [B, T], says which these are."""
        import keras

        asked = self._asked
        layers = layers_of(model)
        hidden = _main(found[OUTPUT]) if asked.hidden is None else _pick(found, found[OUTPUT], asked.hidden)
        kind, layer = asked.head, layers.get(asked.head_layer or "")
        if asked.head_layer is not None and layer is None:
            raise ConfigError(f"head.layer: the model has no layer {asked.head_layer!r}; it has {', '.join(layers)}")
        if kind in ("auto", "embedding") and layer is None:
            reversible = {name: each for name, each in layers.items() if _reverses(each)}
            fitting = [name for name, each in reversible.items() if getattr(each, "output_dim", None) == hidden.shape[-1]]
            if kind == "embedding" and len(fitting) != 1:
                raise ConfigError(
                    f"head.layer is missing: {len(fitting)} embeddings of the model can be reversed over states of {hidden.shape[-1]:,} "
                    f"numbers{': ' if fitting else ''}{', '.join(fitting)}. Name the embedding, or the layer that makes "
                    "logits (head.kind: layer)"
                )
            layer = reversible[fitting[0]] if len(fitting) == 1 else None
        kind = "output" if kind == "output" or layer is None else "layer"
        if len(hidden.shape) != 3:
            raise ConfigError(
                f"head: the {'logits' if kind == 'output' else 'hidden states'} have the shape {list(hidden.shape)}, where batch, "
                "positions and one more axis are needed. Say in head.hidden which output or layer holds them"
            )
        if at is not None:
            hidden = keras.ops.take_along_axis(hidden, keras.ops.expand_dims(at, -1), axis=1)
        if layer is None or kind == "output":
            return hidden
        return layer(hidden, reverse=True) if _reverses(layer) else layer(hidden)

    def __call__(self, arranged: Arranged) -> Extracted:
        """Asks the model about a batch.

        Args:
          arranged: [n] examples, as many in every call.

        Raises:
          BuildError: a number cannot be stored, or is none.
        """
        given: dict[str, Any] = dict(arranged.inputs(self.fields))
        if self._asked.logits:
            largest = int(arranged.targets.max(initial=0))
            if largest >= self._vocab_size:
                raise BuildError(f"the token {largest:,} is predicted in an example, and the model knows {self._vocab_size:,} ids")
            given[_TARGETS] = arranged.targets
            if _POSITIONS in {tensor.name for tensor in self._graph.inputs}:
                given[_POSITIONS] = arranged.fields["mask_positions"]
        dtypes = {tensor.name: tensor.dtype for tensor in self._graph.inputs}
        with self._lock:  # threads of a worker would share its processors, and need the memory of several batches
            said = self._graph.predict_on_batch({name: np.asarray(values).astype(dtypes[name]) for name, values in given.items()})
        return self._stored({name: np.asarray(values) for name, values in said.items()}, arranged)

    def _stored(self, said: Mapping[str, Array], arranged: Arranged) -> Extracted:
        asked, arrays, lengths = self._asked, dict[str, Array](), dict[str, npt.NDArray[np.int64]]()
        logprobs = None
        if asked.logits:
            logprobs = np.where(arranged.weights, said[LOGPROBS], 0).astype(np.float32)
            if not np.isfinite(logprobs).all():
                raise BuildError("the model gives a log-probability that is no finite number, so its weights or its inputs are not right")
            kept = {LOGPROBS: logprobs} if asked.logprobs else {}
            if asked.top_k:
                ids = said[TOPK_IDS].astype(token_dtype(self._vocab_size))
                values = _cast(TOPK_VALUES, said[TOPK_VALUES], asked.top_k_dtype)
                kept |= {TOPK_IDS: ids, TOPK_VALUES: values, LOG_NORMALIZER: said[LOG_NORMALIZER]}
            arrays |= kept
            lengths |= dict.fromkeys(kept, arranged.counts)
        for name, pool, dtype in asked.layers:
            values, real = said[LAYER + name].astype(np.float32, copy=False), None
            mask = self._mask_of(values, arranged)
            if pool != "none":
                values = _pool(name, values, mask, pool)
            elif mask is not None:
                real = np.where(mask, np.arange(1, mask.shape[1] + 1), 0).max(axis=1, initial=0).astype(np.int64)
            arrays[LAYER + name] = _cast(LAYER + name, values, dtype)
            if real is not None:
                lengths[LAYER + name] = real
        return Extracted(logprobs=logprobs, arrays=arrays, lengths=lengths)

    def _mask_of(self, values: Array, arranged: Arranged) -> npt.NDArray[np.bool_] | None:
        """Says which positions of an intermediate output are no padding, [n, P]; None where its second axis is not one of the positions."""
        if values.ndim < 3:
            return None
        read, predicted = arranged.mask, np.arange(arranged.targets.shape[1]) < arranged.counts[:, None]
        fitting = [read, predicted] if self.predicting.kind == SEQUENCE else [read]
        found = [mask for mask in fitting if mask.shape[1] == values.shape[1]]
        return found[0] if len(found) == 1 else None

    def specs(self, arranged: Arranged) -> dict[str, FeatureSpec]:
        """Says what features there will be, by asking the model about one batch.

        Raises:
          BuildError: as a call.
        """
        found = self(arranged)
        dtypes = {LAYER + name: dtype for name, _, dtype in self._asked.layers} | {TOPK_VALUES: self._asked.top_k_dtype}
        return {
            name: FeatureSpec(dtype=dtypes.get(name, values.dtype.name), shape=values.shape[1:], trimmed=name in found.lengths)
            for name, values in sorted(found.arrays.items())
        }


def _is_output(model: Any, name: str) -> bool:
    return isinstance(model.output, dict) and name in model.output


def _main(outputs: Any) -> Any:
    """Finds the output that logits come from."""
    if not isinstance(outputs, dict):
        return outputs[0] if isinstance(outputs, list | tuple) else outputs
    found = next((outputs[name] for name in _MAIN if name in outputs), None)
    if found is None and len(outputs) == 1:
        found = next(iter(outputs.values()))
    if found is None:
        raise ConfigError(f"head.hidden is missing: the model has the outputs {', '.join(outputs)}. Name the one that logits come from")
    return found


def _pick(found: Mapping[str, Any], outputs: Any, name: str) -> Any:
    return found[name] if name in found else outputs[name]


def _reverses(layer: Any) -> bool:
    return "reverse" in inspect.signature(layer.call).parameters


def _summaries(logits: Any, targets: Any, top_k: int) -> dict[str, Any]:
    """Makes of [B, T, V] logits and [B, T] ids what is kept."""
    from keras import ops

    normalizer = ops.logsumexp(logits, axis=-1)
    chosen = ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(targets, -1), axis=-1), -1)
    made = {LOGPROBS: chosen - normalizer}
    if top_k:
        values, ids = ops.top_k(logits, top_k)  # of equal ones the smaller id first
        made |= {TOPK_VALUES: values, TOPK_IDS: ids, LOG_NORMALIZER: normalizer}
    return made


def _pool(name: str, values: Array, mask: npt.NDArray[np.bool_] | None, pool: str) -> Array:
    """Reduces the positions of an intermediate output, [n, P, ...], to one; padding is left out."""
    if values.ndim < 3:
        raise ConfigError(f"layers: {name} has no axis of positions (its shape is {list(values.shape[1:])}), so pool: none is meant")
    if mask is None:  # as many positions as the layer makes of the example
        mask = np.ones(values.shape[:2], np.bool_)
    if pool == "mean":
        weights = mask.reshape(*mask.shape, *[1] * (values.ndim - 2)).astype(np.float32)
        found: Array = (values * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
        return found
    places = mask.argmax(axis=1) if pool == "first" else mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    picked: Array = values[np.arange(len(values)), places]
    return picked


def _cast(name: str, values: Array, dtype: str) -> Array:
    """Converts what a feature holds to what is stored.

    Raises:
      BuildError: a number is beyond the range of the dtype, or is none.
    """
    spec = FeatureSpec(dtype=dtype, shape=values.shape[1:], trimmed=False)
    with np.errstate(over="ignore"):
        stored = spec.to_stored(values)
    if not np.isfinite(spec.to_read(stored)).all():
        if np.isfinite(values).all():
            raise BuildError(
                f"{name}: a number of {float(np.abs(values).max()):.3g} is beyond the range of {dtype}. Store it as bfloat16 or float32"
            )
        raise BuildError(f"{name}: the model gives a number that is not finite, so its weights or its inputs are not right")
    return stored
