"""Batches as what a Hugging Face transformers model takes: exactly the arguments of its `forward`, with the right labels.

Three things go wrong in silence when a batch is handed to such a model as it is: `labels=targets` is shifted once more, so that the model
learns the token after the next; a default cache, or a mask of two dimensions, lets the documents of a row read each other; and padding,
unused mask slots and the last token of a document count in the loss. `ModelInputs` asks the model and the dataset, and refuses what the two
cannot do together. Tried with transformers 5.24.

Importing this module imports neither Torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.format import schema, segments
from tokenreel.loaders.dataset import Dataset
from tokenreel.loaders.fields import INPUTS, LOSS_WEIGHTS, POSITIONS, PREFIX, SEGMENT_IDS, TARGET_WEIGHTS, TARGETS, Arrays
from tokenreel.loaders.mixture import Mixture
from tokenreel.loaders.transformers_models import (
    BY_LENGTHS,
    BY_MASK,
    CAUSAL,
    ENCODER_DECODER,
    ISOLATIONS,
    MASKED,
    PAIR_LABELS,
    ModelFacts,
    check_isolation,
    unwrap,
)

IGNORED = -100  # a label of this value is no part of transformers' losses
_SEQUENCES = ("inputs", "num_inputs", "targets", "num_targets")
_PAIR_LABEL = "pair_label"


class ModelInputs:
    """Turns batches of a dataset into the keyword arguments of a transformers model.

    >>> inputs = ModelInputs(dataset, model)  # doctest: +SKIP
    >>> batches = dataset.batches(8, features=inputs.features)  # doctest: +SKIP
    >>> loss = model(**inputs(next(batches))).loss  # doctest: +SKIP

    What comes out, tensors of int64 [n, L] unless said otherwise:

    - `input_ids` and `labels`, -100 where nothing is learned. The labels of a causal model are those of its own inputs, because it shifts
      them, and the first of a document is -100. With an overlap the last target lies behind the inputs: `shift_labels` have them all.
    - `position_ids`, from 0 in each document (in models of RoBERTa's kind from the id behind padding's).
    - What keeps the documents of a row apart, by `isolation`. "positions": nothing more, the model sees where positions begin anew. "mask":
      `attention_mask` [n, 1, L, L], booleans or what eager attention adds. "lengths", for flash attention: all is [1, n * L], the rows end
      to end, with `cu_seq_lens_q` and `cu_seq_lens_k`, int32, and the integers `max_length_q` and `max_length_k`.
    - `attention_mask` [n, L] where documents are not kept apart, or a row is one text. `token_type_ids` and `next_sentence_label` or
      `sentence_order_label` [n] for pairs.
    - `use_cache` False where the model has a cache, with which it would overlook that positions begin anew.

    Args:
      data: the dataset or mixture whose batches come.
      model: a model of transformers; DDP, `torch.compile` and PEFT around it are looked through.
      objective: what `batches(objective=...)` is given.
      kind: "causal", "masked" or "encoder_decoder"; None tells it by the model's class.
      isolate: whether the documents of a row are kept apart; None does wherever the dataset knows where they begin.
      isolation: how; None tells it by the model's attention implementation.
      keep: fields of a batch to hand on beside the arguments, as they are, such as "cursor"; the training step takes them out.
      check: whether to try on two short documents that the model keeps them apart; needs all its weights on one device.

    Attributes:
      features: what to ask of `batches`.
      kind, isolation: what was told or found; `isolation` is None where documents are not kept apart.

    Raises:
      ConfigError: the model and the data cannot do together what is asked; says why, and what they can.
    """

    def __init__(
        self,
        data: Dataset | Mixture,
        model: Any,
        *,
        objective: Any = None,
        kind: str | None = None,
        isolate: bool | None = None,
        isolation: str | None = None,
        keep: Sequence[str] = (),
        check: bool = True,
    ) -> None:
        if isolation is not None and isolation not in ISOLATIONS:
            raise ConfigError(f"isolation must be one of {', '.join(ISOLATIONS)}, got {isolation!r}")
        self._model = facts = ModelFacts(unwrap(model), kind)
        self.kind, self.keep = facts.kind, tuple(keep)
        datasets = list(data.datasets.values()) if isinstance(data, Mixture) else [data]
        manifest = datasets[0].manifest
        self.seq_len, self.overlap = manifest.seq_len, manifest.overlap
        run = datasets[0].batches(1, objective=objective, prefetch=0)
        fields = set(run.example_batch())
        self._check_fields(fields, hides=bool(run.sources[0].fields.hides))
        self._check_sizes(max(each.manifest.vocabulary.vocab_size for each in datasets))
        self._prefix, self._pairs = PREFIX in fields, _PAIR_LABEL in fields
        self.isolation: str | None = None
        if self._isolates(isolate, fields):
            self.isolation = isolation or facts.isolation(prefix=self._prefix)
        elif self._prefix:
            raise ConfigError("a prefix LM reads only its own document's prefix in both directions: leave isolate out")
        self.features = self._asked()
        if check and self.isolation is not None:
            check_isolation(facts.model, self._trial, facts.vocab_size or manifest.vocabulary.vocab_size)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Turns a batch of arrays, or of tensors on the CPU, into arguments.

        Raises:
          ConfigError: the batch lacks a field of `features`, or has weights other than 0 and 1, for which transformers has no place.
        """
        if lacking := [name for name in self.features if name not in batch]:
            raise ConfigError(f"a batch without {', '.join(lacking)}: make it with batches(..., features=inputs.features)")
        arrays = {name: np.asarray(batch[name]) for name in self.features}
        made = {CAUSAL: self._causal, MASKED: self._masked, ENCODER_DECODER: self._encoder_decoder}[self.kind](arrays)
        return self._finished(made, arrays) | _tensors({name: np.asarray(batch[name]) for name in self.keep if name in batch})

    # What fits together.

    def _check_fields(self, fields: set[str], *, hides: bool) -> None:
        holds = MASKED if hides else ENCODER_DECODER if {*_SEQUENCES} <= fields else CAUSAL if schema.TOKENS in fields else None
        if holds == CAUSAL and {TARGETS, "edits"} & fields:
            holds = None
        if holds is None:
            raise ConfigError(f"no model of transformers learns from {', '.join(sorted(fields))}; take the arrays yourself")
        if holds != self.kind:
            wanted = {
                CAUSAL: "causal_lm",
                MASKED: "bert or another that masks",
                ENCODER_DECODER: "t5 or another that makes inputs and targets",
            }
            raise ConfigError(
                f"{self._model.name} is a {self.kind} model and the batches are those of a {holds} one: build with objective.name "
                f"{wanted[self.kind]}, or compute it in the loader and give ModelInputs that objective"
            )

    def _check_sizes(self, vocab_size: int) -> None:
        facts = self._model
        if facts.vocab_size is not None and vocab_size > facts.vocab_size:
            raise ConfigError(
                f"the dataset's vocabulary has {vocab_size:,} ids, {facts.name} embeddings for {facts.vocab_size:,}: make the model with "
                f"vocab_size={vocab_size}, or call resize_token_embeddings({vocab_size})"
            )
        if facts.positions is not None and self.kind != ENCODER_DECODER and self.seq_len > facts.positions:
            raise ConfigError(
                f"examples hold {self.seq_len:,} tokens, {facts.name} has {facts.positions:,} positions: build with packing.seq_len "
                f"{facts.positions}, or make the model with as many positions"
            )
        if self.kind == CAUSAL and self.overlap and not facts.takes_shifted_labels():
            raise ConfigError(
                f"the last target of an example lies behind its inputs (packing.overlap is {self.overlap}), and the loss of {facts.name} "
                "takes no shift_labels: build with packing.overlap 0"
            )

    def _isolates(self, wanted: bool | None, fields: set[str]) -> bool:
        knows = schema.DOCUMENT_STARTS in fields
        if self.kind == ENCODER_DECODER and (wanted or knows):
            raise ConfigError(
                "packed examples and an encoder-decoder of transformers do not go together: one attention_mask serves the encoder and the "
                "cross-attention, so the documents of a row would read each other. Build with packing.mode pad, one document in a row."
            )
        if wanted and not knows:
            raise ConfigError(f"isolate: the records do not say where documents begin; they hold {', '.join(sorted(fields))}")
        return knows and wanted is not False

    def _asked(self) -> tuple[str, ...]:
        apart = (POSITIONS, SEGMENT_IDS)
        if self.kind == CAUSAL:
            return (INPUTS, TARGETS, LOSS_WEIGHTS, *apart, *((PREFIX,) if self._prefix else ()))
        if self.kind == ENCODER_DECODER:
            return _SEQUENCES
        masked = (schema.TOKENS, TARGETS, TARGET_WEIGHTS)
        return (*masked, schema.NUM_TOKENS, SEGMENT_IDS, _PAIR_LABEL) if self._pairs else (*masked, *apart)

    def _trial(self, tokens: npt.NDArray[Any], starts: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Makes the arguments of a batch of these documents, without labels."""
        found = segments.SegmentMap(starts)
        arrays: Arrays = {SEGMENT_IDS: found.segment_ids(), POSITIONS: found.positions()}
        if self._prefix:
            arrays[PREFIX] = found.positions() < 2
        return self._finished({"input_ids": tokens.astype(np.int64)} | self._apart(arrays), arrays)

    def _finished(self, made: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
        """Turns arguments [n, L] into tensors, laid end to end where that is how documents are kept apart, and adds those of one value."""
        plain: dict[str, Any] = {"use_cache": False} if self.kind == CAUSAL and self._model.takes("use_cache") else {}
        if self.isolation == BY_LENGTHS:
            cumulative, longest = segments.cumulative_lengths(np.diff(arrays[SEGMENT_IDS], axis=1, prepend=-1) != 0)
            made = {name: values.reshape(1, -1) for name, values in made.items()} | {
                "cu_seq_lens_q": cumulative,
                "cu_seq_lens_k": cumulative,
            }
            plain |= {"max_length_q": longest, "max_length_k": longest}
        tensors = _tensors(made)
        if self.isolation == BY_MASK and (dtype := self._model.mask_dtype):
            tensors["attention_mask"] = _added(tensors["attention_mask"], dtype)
        return tensors | plain

    # The three kinds: {argument: int64 [n, L]}.

    def _causal(self, arrays: Arrays) -> dict[str, Any]:
        counts = _counts(arrays[LOSS_WEIGHTS])
        inputs, labels = arrays[INPUTS], np.full(arrays[INPUTS].shape, IGNORED, np.int64)
        labels[:, 1:] = np.where(counts[:, :-1], inputs[:, 1:], IGNORED)
        made = {"input_ids": inputs.astype(np.int64), "labels": labels}
        if self.overlap:
            made["shift_labels"] = np.where(counts, arrays[TARGETS], IGNORED).astype(np.int64)
        return made | self._apart(arrays)

    def _masked(self, arrays: Arrays) -> dict[str, Any]:
        tokens = arrays[schema.TOKENS].astype(np.int64)
        labels = np.where(_counts(arrays[TARGET_WEIGHTS]), arrays[TARGETS], IGNORED).astype(np.int64)
        made: dict[str, Any] = {"input_ids": tokens, "labels": labels}
        if not self._pairs:
            return made | self._apart(arrays)
        real = np.arange(tokens.shape[1]) < arrays[schema.NUM_TOKENS][:, None]
        made |= {"attention_mask": _readable(real), "token_type_ids": arrays[SEGMENT_IDS].astype(np.int64)}
        if self._model.first_position:
            made["position_ids"] = self._positions(np.arange(tokens.shape[1]) * real, real)
        return made | {name: arrays[_PAIR_LABEL].astype(np.int64) for name in PAIR_LABELS if self._model.takes(name)}

    def _encoder_decoder(self, arrays: Arrays) -> dict[str, Any]:
        inputs, targets = arrays["inputs"].astype(np.int64), arrays["targets"]
        real, counts = (
            np.arange(each.shape[1]) < arrays[f"num_{name}"][:, None] for name, each in (("inputs", inputs), ("targets", targets))
        )
        return {
            "input_ids": inputs,
            "attention_mask": _readable(real),
            "labels": np.where(counts, targets, IGNORED).astype(np.int64),
        }

    def _apart(self, arrays: Arrays) -> dict[str, Any]:
        """Makes the arguments that say who may read whom, from segment ids and positions [n, L]."""
        made: dict[str, Any]
        ids = arrays[SEGMENT_IDS]
        real = ids > 0
        if self.isolation is None:
            column = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
            made = {"attention_mask": _readable(real)}
            return made | ({"position_ids": self._positions(column * real, real)} if self._model.first_position else {})
        made = {"position_ids": self._positions(arrays[POSITIONS], real)} if self._model.accepts("position_ids") else {}
        if self.isolation == BY_MASK:
            made["attention_mask"] = segments.attention_mask(ids, causal=self.kind == CAUSAL, prefix=arrays.get(PREFIX))[:, None]
        return made

    def _positions(self, positions: npt.NDArray[Any], real: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        first = self._model.first_position
        return np.where(real, positions.astype(np.int64) + first, max(first - 1, 0))


def _counts(weights: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Says where loss weights count.

    Raises:
      ConfigError: one is neither 0 nor 1.
    """
    counts: npt.NDArray[np.bool_] = weights > 0
    if (weights[counts] != 1).any():
        raise ConfigError(
            "loss weights must be 0 or 1 for a model of transformers, whose labels are learned or not; got "
            f"{float(weights[counts & (weights != 1)][0]):g}. Compute the loss yourself, from its logits."
        )
    return counts


def _readable(real: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Makes an attention mask of two dimensions; a row of nothing but padding reads its first position, since a softmax needs one."""
    mask = real.astype(np.int64)
    mask[:, 0] = 1
    return mask


def _tensors(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    from tokenreel.loaders.to_torch import tensors

    return tensors(arrays)


def _added(mask: Any, dtype: str) -> Any:
    """Turns a boolean mask into the one that eager attention adds to its scores: 0 to read, the least number of a dtype otherwise."""
    import torch

    kind = getattr(torch, dtype)
    return torch.zeros(mask.shape, dtype=kind).masked_fill_(~mask, torch.finfo(kind).min)
