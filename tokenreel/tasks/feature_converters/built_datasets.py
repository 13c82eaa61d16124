"""Converters over data sets that `tokenreel build` made.

A built example is laid out already, and which features it has says what it is:

    laid out rows   `tokens` with `document_starts`: wrapped or packed text, with a `prefix_mask` for prefix_lm    decoder_*
    pairs           `inputs` and `targets`, as T5 and UL2 make them: one pair an example                           encoder_*, decoder_*
    masked rows     `tokens` of which some are hidden, in slots (`mask_positions`, ...) or position by position    encoder_*

Rows become the model's features position by position. Pairs can also be packed, several in a row, or joined for a decoder alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.format import schema
from tokenreel.format.segments import SegmentMap
from tokenreel.loaders.dataset import Dataset
from tokenreel.loaders.fields import PREFIX, TARGET_WEIGHTS, TARGETS, Fields, align_of
from tokenreel.ragged import offsets_of
from tokenreel.tasks.feature_converters.blocks import Array, Block, Column
from tokenreel.tasks.feature_converters.row_making import RowMaker
from tokenreel.tasks.feature_converters.rows import shift_right
from tokenreel.tasks.feature_converters.specs import Lengths

Kind = Literal["rows", "pairs", "masked"]
PAIR = ("inputs", "targets")


def kind_of(features: Sequence[str], hides_tokens: bool) -> Kind:
    """Says what an example with these features is, and an objective that hides tokens or does not.

    Raises:
      ConfigError: it is none of the three.
    """
    if hides_tokens:
        return "masked"
    if {*PAIR} <= set(features):
        return "pairs"
    if schema.TOKENS in features:
        return "rows"
    raise ConfigError(f"no converter takes examples of {', '.join(sorted(features))}: they hold neither tokens nor inputs and targets")


class ModelFeatures:
    """What a converter makes of the examples of a built data set, for `dataset.batches(..., objective=...)`.

    Batches keep their order, states and adapters: this stands where an objective is computed on the fly, and takes one itself.

    Args:
      dataset: from `tokenreel.load`.
      converter: says which kinds of examples it takes, and its `bos_id`.
      objective: from `dataset.objective(...)`, computed first; None for what is stored.
      lengths: of `inputs` and `targets`, where pairs are padded to others than their own.

    Raises:
      ConfigError: the converter does not take such examples.
    """

    def __init__(self, dataset: Dataset, converter: Any, objective: Any = None, lengths: Lengths | None = None) -> None:
        made = () if objective is None else tuple(objective.output_shapes())
        names = made if {*PAIR} <= set(made) else (*made, *dataset.features)
        hides = Fields(dataset.manifest, objective=objective).hides
        self.kind = kind_of(names, bool(hides))
        self.dataset, self.converter, self.objective = dataset, converter, objective
        if self.kind not in converter.BUILT_KINDS:
            raise ConfigError(_refusal(dataset, converter, self.kind))
        self.hides_tokens = False  # what comes out is complete, nothing is derived from it
        self._seq_len, self._align, self._pad_id = dataset.manifest.seq_len, align_of(dataset.manifest), dataset.manifest.pad_id
        self._text = Fields(dataset.manifest, (TARGETS, TARGET_WEIGHTS), objective=objective) if self.kind == "masked" else None
        self.lengths = dict(lengths or self._own_lengths()) if self.kind == "pairs" else {}

    def _own_lengths(self) -> dict[str, int]:
        shapes = {feature.name: feature.shape for feature in self.dataset.manifest.features}
        if self.objective is not None:
            shapes |= {name: shape for name, (_, shape) in self.objective.output_shapes().items()}
        return {name: int(shapes[name][0]) for name in PAIR}

    def takes(self, width: int) -> bool:
        """Says whether examples of so many tokens can be taken; see `Objective`."""
        return self.objective is None or bool(self.objective.takes(width))

    def raw_length(self) -> int:
        """Gives the tokens of an example; see `Objective`."""
        return self._seq_len if self.objective is None else int(self.objective.raw_length())

    def apply(
        self, arrays: Mapping[str, Array], example_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0
    ) -> dict[str, Array]:
        """Makes the model's features of stored arrays.

        Args:
          arrays: {feature: [n, ...]} as stored.
          example_ids: int [n].
          seed: for the objective.
          variant: for the objective.
          epoch: for the objective.

        Returns:
          int32 [n, length] of each feature.
        """
        if self.objective is not None:
            arrays = self.objective.apply(arrays, example_ids, seed=seed, variant=variant, epoch=epoch)
        if self.kind == "masked":
            return self._masked(arrays)
        if self.kind == "pairs":
            rows: dict[str, Array] = self.converter.convert_rows(self.pairs(arrays), self.lengths)
            return rows
        return self._rows(arrays)

    def take(self, examples: npt.ArrayLike, *, seed: int = 0, epoch: int = 0) -> dict[str, Array]:
        """Reads examples by number and converts them: int32 [k, length] of each feature."""
        numbers = np.asarray(examples, np.int64).reshape(-1)
        return self.apply(self.dataset.take(numbers), numbers, seed=seed, epoch=epoch)

    def pairs(self, arrays: Mapping[str, Array]) -> Block:
        """Takes padded pairs apart: `inputs` and `targets` end to end, with bounds."""
        return {name: self._sequences(arrays, name) for name in PAIR}

    def _sequences(self, arrays: Mapping[str, Array], name: str) -> Column:
        values = arrays[name].astype(np.int32, copy=False)
        counts = arrays.get(f"num_{name}")
        counts = (values != self._pad_id).sum(1) if counts is None else np.asarray(counts)
        return values[np.arange(values.shape[1]) < counts[:, None]], offsets_of(counts.astype(np.int64))

    def _rows(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Converts laid out text. A token that examples overlap by is what the first position reads, unless a document begins there."""
        tokens = arrays[schema.TOKENS].astype(np.int32, copy=False)
        before = max(tokens.shape[1] - self._seq_len, 0)
        own = tokens[:, before:]
        packing = self._segments(arrays, tokens.shape, before)
        read = shift_right(own, self.converter.bos_id, packing["segment_ids"])
        if before and schema.DOCUMENT_STARTS in arrays:
            goes_on = ~arrays[schema.DOCUMENT_STARTS][:, before] & (packing["segment_ids"][:, 0] > 0)
            read[goes_on, 0] = tokens[goes_on, before - 1]
        real = packing["segment_ids"] > 0
        converted = {"decoder_target_tokens": np.where(real, own, 0), "decoder_input_tokens": read, "decoder_loss_weights": real}
        if PREFIX in arrays or "decoder_causal_attention" in self.converter.MODEL_FEATURES:
            prefix = arrays[PREFIX][:, before:].astype(bool) if PREFIX in arrays else np.zeros_like(real)
            # A decoder reads one position to the right: it sees both ways as far as the last token of the prefix stands there.
            seen = np.roll(prefix, 1, axis=1) | (packing["positions"] == 0)
            converted["decoder_causal_attention"] = real & seen
            if getattr(self.converter, "loss_on_targets_only", True):
                converted["decoder_loss_weights"] = real & ~prefix
        converted |= {f"decoder_{name}": array for name, array in packing.items()}
        return {name: array.astype(np.int32, copy=False) for name, array in converted.items()}

    def _masked(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Converts rows in which tokens are hidden; what was selected has a weight, whether it was hidden, replaced or kept."""
        assert self._text is not None  # of masked rows
        text = self._text(arrays)
        packing = self._segments(arrays, arrays[schema.TOKENS].shape, 0)
        converted = {
            "encoder_input_tokens": arrays[schema.TOKENS],
            "encoder_target_tokens": text[TARGETS],
            "encoder_loss_weights": text[TARGET_WEIGHTS],
            **{f"encoder_{name}": array for name, array in packing.items()},
        }
        return {name: np.asarray(array).astype(np.int32, copy=False) for name, array in converted.items()}

    def _segments(self, arrays: Mapping[str, Array], shape: tuple[int, ...], before: int) -> dict[str, Array]:
        """Numbers segments and positions of the [n, length] tokens behind the first `before`."""
        starts = arrays.get(schema.DOCUMENT_STARTS)
        starts = np.zeros(shape, np.bool_) if starts is None else starts.astype(bool, copy=False)
        tokens = arrays.get(schema.NUM_TOKENS)
        found = SegmentMap(starts[:, before:], None if tokens is None else tokens.astype(np.int64) - before, self._align)
        return {"segment_ids": found.segment_ids(), "positions": found.positions()}


class Pairs(Sequence[dict[str, Array]]):
    """The pairs of a built data set as examples of a task: `inputs` and `targets` without their padding.

    Args:
      features: of the data set, of pairs.
    """

    _READ = 256  # at once

    def __init__(self, features: ModelFeatures) -> None:
        self._features = features
        self._first, self._block = 0, list[dict[str, Array]]()

    def __len__(self) -> int:
        return len(self._features.dataset)

    def __getitem__(self, number: Any) -> Any:
        if not self._first <= number < self._first + len(self._block):
            self._first = number - number % self._READ
            numbers = np.arange(self._first, min(self._first + self._READ, len(self)))
            dataset, objective = self._features.dataset, self._features.objective
            arrays: Mapping[str, Array] = dataset.take(numbers)
            if objective is not None:
                arrays = objective.apply(arrays, numbers, seed=0)
            block = self._features.pairs(arrays)
            parts = {name: np.split(values, bounds[1:-1]) for name, (values, bounds) in block.items() if bounds is not None}
            self._block = [dict(zip(PAIR, pair, strict=True)) for pair in zip(*(parts[name] for name in PAIR), strict=True)]
        return dict(self._block[number - self._first])

    @property
    def key(self) -> int:
        """The number that the keys of the examples begin with."""
        return keys.key("tasks/built", self._features.dataset.fingerprint) >> 1


class Rows(Sequence[dict[str, Array]]):
    """The examples of a built data set as rows of a model.

    Args:
      features: of the data set.
    """

    def __init__(self, features: ModelFeatures) -> None:
        self._features = features

    def __len__(self) -> int:
        return len(self._features.dataset)

    def __getitem__(self, number: Any) -> Any:
        return {name: array[0] for name, array in self._features.take([number]).items()}


def _refusal(dataset: Dataset, converter: RowMaker, kind: Kind) -> str:
    """Says why a converter does not take a data set, and which would."""
    name = type(converter).__name__
    what, way_out = {
        "rows": ("laid out text, which only a decoder predicts", "LMFeatureConverter, PrefixLMFeatureConverter or DecoderFeatureConverter"),
        "pairs": ("pairs of inputs and targets", "EncDecFeatureConverter or PrefixLMFeatureConverter"),
        "masked": ("text with hidden tokens: only an encoder is trained on it", "EncoderFeatureConverter"),
    }[kind]
    return f"{name} does not take {dataset.path}: its examples are {what}. Use {way_out}."
