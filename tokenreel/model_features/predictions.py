"""What a model reads and predicts of examples: the fields of a dataset under the names that models have for them, and the targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.format import schema
from tokenreel.format.segments import SegmentMap

NEXT_TOKEN, MASKED, SEQUENCE, NOTHING = "next_token", "masked", "sequence", "nothing"
TOKEN_TYPES = "token_types"  # 1 in the second segment of a pair, as BERT has it; 0 elsewhere
ZEROS = "zeros"
_DERIVED = ("segment_ids", "positions")
_NEXT = ("inputs", "targets", "loss_weights", *_DERIVED)  # what a loader derives for the prediction of the next token
_ROWS = ("decoder_target_tokens", "decoder_loss_weights")  # of SeqIO's feature converters
_MADE = ("padding_mask", "decoder_inputs", "decoder_padding_mask", TOKEN_TYPES, ZEROS)
_READ = ("inputs", "encoder_input_tokens", "encoder_inputs", "tokens", "decoder_input_tokens")  # ids that a model reads, the first there is
# What the inputs of models are called, and the fields that they mean, the first there is.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "token_ids": _READ,
    "input_ids": _READ,
    "encoder_token_ids": _READ,
    "decoder_token_ids": ("decoder_input_tokens", "decoder_inputs"),
    "attention_mask": ("padding_mask",),
    "encoder_padding_mask": ("padding_mask",),
    "position_ids": ("positions",),
}
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predicting:
    """What is predicted in the examples of a dataset.

    Attributes:
      kind: `NEXT_TOKEN`, `MASKED`, `SEQUENCE` or `NOTHING`, where only layers are looked at.
      stored: names of the dataset's fields.
      pad_id: of the dataset.
      align: the multiple of positions that each segment takes.
      start_id: what a decoder begins with.
      target_fields: names of the ids and weights of a `SEQUENCE`.
      keras_segments: whether an input `segment_ids` means `TOKEN_TYPES`, as in the models of keras-hub, and not the segments of packing.
    """

    kind: str
    stored: tuple[str, ...]
    pad_id: int = 0
    align: int = 1
    start_id: int = 0
    target_fields: tuple[str, ...] = ()
    keras_segments: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that a loader is asked for: what is stored, and what it derives."""
        if self.kind == NEXT_TOKEN or (self.kind == NOTHING and self._could_be_next_token):
            return tuple(dict.fromkeys((*self.stored, *_NEXT)))
        return (*self.stored, *(name for name in _DERIVED if schema.DOCUMENT_STARTS in self.stored))

    @property
    def _could_be_next_token(self) -> bool:
        return {schema.TOKENS, schema.DOCUMENT_STARTS} <= set(self.stored) and "mask_positions" not in self.stored

    @property
    def tells_documents(self) -> bool:
        """Whether it is known of which document each predicted token is: that of `SEQUENCE` stands in another order."""
        return self.kind in (NEXT_TOKEN, MASKED) and schema.DOCUMENT_STARTS in self.stored

    def field_of(self, name: str, chosen: Mapping[str, str]) -> str:
        """Finds the field behind an input of a model.

        Args:
          name: of the input.
          chosen: fields by the names of inputs, as the settings say.

        Raises:
          ConfigError: there is no such field; names those there are.
        """
        known = (*self.fields, *_MADE)
        own = (TOKEN_TYPES,) if name == "segment_ids" and self.keras_segments else (*_ALIASES.get(name, ()), name)
        candidates = (chosen[name],) if name in chosen else own
        found = next((each for each in candidates if each in known), None)
        if found is None:
            told = f"inputs.{name}: there is no field {chosen[name]!r}" if name in chosen else f"the model's input {name!r} is no field"
            raise ConfigError(f"{told} of the dataset; say which it is in inputs.{name}: {', '.join(known)}")
        return found

    def arrange(self, arrays: Arrays) -> Arranged:
        """Lays out the examples of a batch.

        Args:
          arrays: {field: [n, ...]} of the `fields`.
        """
        made = dict(arrays)
        ids, weights, real = self._predicted(arrays)
        read = next((made[name] for name in _READ if name in made), None)
        rows = len(ids)
        if read is None:
            raise ConfigError(f"the dataset holds none of {', '.join(_READ)}: name what the model reads in inputs")
        made["padding_mask"] = mask = self._padding_mask(arrays, read, ids)
        if self.kind == SEQUENCE:
            start = np.full((rows, 1), self.start_id, ids.dtype)
            made["decoder_inputs"] = np.concatenate([start, ids[:, :-1]], axis=1)
            made["decoder_padding_mask"] = np.arange(ids.shape[1]) < real[:, None]
        segments = made.get("segment_ids")
        made[TOKEN_TYPES] = np.zeros(read.shape, np.int32) if segments is None else (segments == 2).astype(np.int32)
        made[ZEROS] = np.zeros(read.shape, np.int32)
        return Arranged(fields=made, targets=ids, weights=weights, counts=real, mask=mask, segments=self._segments(arrays, ids))

    def _predicted(self, arrays: Arrays) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Gives [n, T] ids and weights of what is predicted, and int64 [n] how many of them are no padding."""
        if self.kind == NOTHING:
            rows = len(next(iter(arrays.values())))
            return np.zeros((rows, 0), np.int32), np.zeros((rows, 0), np.bool_), np.zeros(rows, np.int64)
        if self.kind == NEXT_TOKEN:
            ids, weights = arrays["targets"], arrays["loss_weights"] > 0
            tokens = arrays.get(schema.NUM_TOKENS)
            full = np.full(len(ids), ids.shape[1], np.int64)
            return ids, weights, full if tokens is None else np.minimum(tokens.astype(np.int64), full)
        if self.kind == MASKED:
            ids, weights = arrays["mask_ids"], arrays["mask_weights"] > 0
        else:
            name, weight = self.target_fields or _targets_in(self.stored)
            ids = arrays[name]
            weights = np.arange(ids.shape[1]) < arrays[weight][:, None] if arrays[weight].ndim == 1 else arrays[weight] > 0
        behind = np.where(weights, np.arange(1, ids.shape[1] + 1), 0).max(axis=1, initial=0)
        return ids, weights, behind.astype(np.int64)

    def _padding_mask(self, arrays: Arrays, read: npt.NDArray[Any], ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Says which positions that the model reads are no padding: bool [n, L]."""
        count = next((arrays[name] for name in ("num_inputs", schema.NUM_TOKENS) if name in arrays), None)
        # A decoder's inputs may begin with the id of padding.
        told = ids if read is arrays.get("decoder_input_tokens") and ids.shape == read.shape else read
        found: npt.NDArray[np.bool_]
        if "segment_ids" in arrays:
            found = arrays["segment_ids"] > 0
        elif count is not None:
            found = np.arange(read.shape[1]) < count[:, None]
        else:
            found = told != self.pad_id
        return found

    def _segments(self, arrays: Arrays, ids: npt.NDArray[Any]) -> npt.NDArray[np.int32] | None:
        """Gives the number of the segment, in its example, that each predicted token is of: int32 [n, T]; None where it is not known."""
        if not self.tells_documents:
            return None
        starts = arrays[schema.DOCUMENT_STARTS]
        found = SegmentMap(starts, arrays.get(schema.NUM_TOKENS), self.align).segment_ids()
        if self.kind == MASKED:
            return np.take_along_axis(found, arrays["mask_positions"].astype(np.int64), axis=1)
        out = np.zeros(ids.shape, np.int32)
        out[:, : found.shape[1] - 1] = found[:, 1 : ids.shape[1] + 1]
        return out


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arranged:
    """A batch as a model reads it, and what it predicts.

    Attributes:
      fields: {name: [n, ...]}.
      targets: [n, T] ids.
      weights: bool [n, T] which of them are predicted.
      counts: int64 [n] how many of them are no padding.
      mask: bool [n, L] which positions that the model reads are no padding.
      segments: int32 [n, T] number of the segment of each target, from 1; None where it is not known.
    """

    fields: Arrays
    targets: npt.NDArray[Any]
    weights: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    segments: npt.NDArray[np.int32] | None

    def inputs(self, fields: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
        """Gives the model's inputs, by their names.

        Args:
          fields: which field each of them is.
        """
        return {name: self.fields[field] for name, field in fields.items()}


def _targets_in(stored: Collection[str]) -> tuple[str, str]:
    return _ROWS if _ROWS[0] in stored else ("targets", "num_targets")


def kind_of(stored: Sequence[str], asked: str, target_fields: Sequence[str] = ()) -> str:
    """Says what is predicted in a dataset.

    Args:
      stored: names of its fields.
      asked: a kind, or "auto".
      target_fields: names of the ids and weights, where they are given.

    Raises:
      ConfigError: the dataset does not hold what that takes.
    """
    needed: dict[str, tuple[str, ...]] = {
        MASKED: ("tokens", "mask_positions", "mask_ids", "mask_weights"),
        SEQUENCE: tuple(target_fields) or _targets_in(stored),
        NEXT_TOKEN: (schema.TOKENS, schema.DOCUMENT_STARTS),
    }
    kinds = [kind for kind in needed if asked in (kind, "auto") and (kind == SEQUENCE or not target_fields)]
    for kind in kinds:
        if set(needed[kind]) <= set(stored):
            return kind
    wanted = " or ".join(f"{kind} ({', '.join(needed[kind])})" for kind in kinds)
    raise ConfigError(
        f"targets: {asked}: the records hold {', '.join(stored)}, and not what a model predicts for {wanted}. Name the fields of the ids "
        "and their weights in target_fields, or extract layers alone with head.kind: none"
    )
