"""What a batch holds: stored features in the dtypes that models take, and what is derived from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.format import schema
from tokenreel.format.manifest import Manifest
from tokenreel.format.segments import SegmentMap

INPUTS, TARGETS = "inputs", "targets"
SEGMENT_IDS, POSITIONS, LOSS_WEIGHTS, TARGET_WEIGHTS = "segment_ids", "positions", "loss_weights", "target_weights"
PADDING_MASK = "padding_mask"
DERIVED = (INPUTS, TARGETS, SEGMENT_IDS, POSITIONS, LOSS_WEIGHTS, TARGET_WEIGHTS, PADDING_MASK)
CU_SEQLENS, MAX_SEQLEN = "cu_seqlens", "max_seqlen"
OF_BATCH = (CU_SEQLENS, MAX_SEQLEN)  # of a whole batch, so without an axis of rows: see `Run.complete`
BOUNDS = "segment_bounds"  # what those two are made from, once all rows of a batch are there
CURSOR = "cursor"  # of a run, in each row of its batches: see `Run.complete`
Arrays = dict[str, npt.NDArray[Any]]
SLOTS = ("mask_positions", "mask_ids", "mask_weights")
PREFIX = "prefix_mask"
_PLAIN = "causal_lm"  # the objective that leaves records as they are
NUM_TARGETS = "num_targets"
_LITTLE = {name: np.dtype(name).newbyteorder("<") for name in schema.DTYPES if name != schema.BIT}


def align_of(manifest: Manifest) -> int:
    """Gives the multiple of positions that each segment takes (`packing.align`); 1 where segments follow each other without a gap."""
    return int(manifest.config.get("packing", {}).get("align") or 1)


class Fields:
    """Chooses and derives the fields of a batch.

    Args:
      manifest: of the dataset.
      names: stored features and any of `DERIVED`; None takes what is stored. A stored feature goes before a derived one of its name.
      objective: what is computed on the stored features, whose arrays then go before stored and derived ones; None for nothing.
      across_documents: whether `loss_weights` count the prediction of a document's first token (GPT-2 does; segment-aware attention must
        not).
      bounds: whether to add `BOUNDS`, bool [n, L]: where segments and padding begin.
      joined: names of features that stand beside the dataset, and count as stored.

    `inputs` and `targets` are the two sides of next-token prediction: [n, seq_len], from the stored overlap where there is one; without it
    the last target is padding and its weight 0. Beside them `segment_ids`, `positions`, `loss_weights` and `padding_mask` are those of the
    inputs; alone they cover all stored tokens. `loss_weights` leave out the visible prefixes of `prefix_lm`. `padding_mask` is int32, 1 for
    tokens and 0 for padding.

    Where tokens are hidden there is no next token to predict. `targets` are the text as it was, [n, seq_len] beside `tokens`, and
    `target_weights`, int32 [n, seq_len], are 1 where a token was selected, and 0 elsewhere. Where inputs and targets are two sequences, as
    T5's, `loss_weights` are those of the targets: 0 for their padding.

    Raises:
      ConfigError: there is no such feature, or what it derives from is not stored, or it means nothing for the objective.
    """

    def __init__(
        self,
        manifest: Manifest,
        names: Sequence[str] | None = None,
        *,
        objective: Any = None,
        across_documents: bool = False,
        bounds: bool = False,
        joined: Sequence[str] = (),
    ) -> None:
        stored = [*(feature.name for feature in manifest.features), *joined]
        self.names = (tuple(stored) if names is None else tuple(names)) + ((BOUNDS,) if bounds else ())
        self.everything = names is None
        self.across_documents = across_documents
        self.seq_len, self.overlap, self.pad_id = manifest.seq_len, manifest.overlap, manifest.pad_id
        self.align = align_of(manifest)
        # What an objective adds to the stored features; None if it does not tell.
        made: Sequence[str] | None = () if objective is None else _made_by(objective)
        self.hides = _hides_tokens(manifest, objective)
        self.targets_only = _loss_on_targets_only(manifest, objective)
        self._needs: set[str] = set()
        for name in self.names:
            if name in stored:
                self._needs.add(name)
            elif name in OF_BATCH:
                raise ConfigError(f"{name} is of a whole batch, not of an example: ask for it in batches(features=[...])")
            elif made is None or name in made:
                continue
            elif name in DERIVED or name == BOUNDS:
                self._needs |= self._sources(name, stored, made)
            else:
                raise ConfigError(f"no feature {name!r}; the records hold {', '.join(stored)}, and {', '.join(DERIVED)} can be derived")
        self.stored = tuple(name for name in stored if name in self._needs)
        self._nothing_derived = self.stored == self.names

    def _sources(self, name: str, stored: Sequence[str], made: Sequence[str]) -> set[str]:
        """Says which stored features a derived field needs.

        Raises:
          ConfigError: they are not there, or the field means nothing.
        """
        there = {*stored, *made}
        if self.hides and name in (INPUTS, LOSS_WEIGHTS):
            dense = f"{schema.TOKENS}, {TARGETS} and {TARGET_WEIGHTS}"
            sparse = f", or for {schema.TOKENS}, {' and '.join(SLOTS)}" if set(SLOTS) <= there else ""
            raise ConfigError(
                f"{name} belongs to models that predict the next token, and {self.hides} hides tokens: {schema.TOKENS} are no longer the "
                f"text. Ask for {dense}{sparse}."
            )
        if name in (TARGETS, PADDING_MASK) and INPUTS in there:
            raise ConfigError(f"{name} would not be those of the stored {INPUTS}: there are {', '.join(sorted(there))}")
        wanted = {INPUTS: {schema.TOKENS}, TARGETS: {schema.TOKENS}}.get(name, {schema.DOCUMENT_STARTS})
        if name == TARGET_WEIGHTS or (name == TARGETS and self.hides):
            wanted = {schema.TOKENS, *SLOTS}
        if name == PADDING_MASK and self.align == 1:
            wanted = {schema.TOKENS}  # padding stands behind the tokens alone
        if name == LOSS_WEIGHTS and NUM_TARGETS in there:
            wanted = {TARGETS, NUM_TARGETS}
        if not wanted <= there:
            asked = CU_SEQLENS if name == BOUNDS else name
            raise ConfigError(
                f"{asked} is derived from {', '.join(sorted(wanted))}, which the records do not hold; they hold {', '.join(stored)}"
            )
        # Where examples are padded, everything derived depends on where the padding begins.
        beside = {schema.NUM_TOKENS, PREFIX} if name == LOSS_WEIGHTS else {schema.NUM_TOKENS}
        return (wanted | beside) & set(stored)

    def __call__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Picks the wanted fields from {name: [n, ...]} stored (or made) arrays, and derives those that are not there.

        Raises:
          ConfigError: a wanted field is neither there nor derived.
        """
        # Most runs ask for what is stored, and a batch is small: nothing is looked up for them.
        if self.everything or (self._nothing_derived and len(arrays) == len(self.names)):
            return dict(arrays)
        shifted = not self.hides and any(name in self.names and name not in arrays for name in (INPUTS, TARGETS))
        found: SegmentMap | None = None
        out: Arrays = {}
        for name in self.names:
            if name in arrays:
                out[name] = arrays[name]
            elif name not in DERIVED and name != BOUNDS:
                raise ConfigError(f"no feature {name!r}: the objective makes {', '.join(arrays)}")
            elif name == INPUTS:
                out[name] = np.ascontiguousarray(arrays[schema.TOKENS][:, : self.seq_len])
            elif name == TARGETS:
                out[name] = _text(arrays) if self.hides else self._targets(arrays[schema.TOKENS])
            elif name == TARGET_WEIGHTS:
                out[name] = _dense(arrays, np.zeros(arrays[schema.TOKENS].shape, np.int32), arrays["mask_weights"])
            elif name == PADDING_MASK:
                mask = _padding_mask(arrays, self.align)
                out[name] = np.ascontiguousarray(mask[:, : self.seq_len]) if shifted else mask
            elif name == LOSS_WEIGHTS and NUM_TARGETS in arrays:
                out[name] = (np.arange(arrays[TARGETS].shape[1]) < arrays[NUM_TARGETS][:, None]).astype(np.float32)
            else:
                if schema.DOCUMENT_STARTS not in arrays:
                    raise ConfigError(f"{name} is derived from {schema.DOCUMENT_STARTS}, and the objective makes {', '.join(arrays)}")
                if found is None:  # the map serves all of the fields below
                    found = SegmentMap(arrays[schema.DOCUMENT_STARTS], arrays.get(schema.NUM_TOKENS), self.align)
                values = self._of_segments(name, found, arrays)
                # Beside inputs the fields are the inputs' own: the token shared with the next example has no position there.
                out[name] = np.ascontiguousarray(values[:, : self.seq_len]) if shifted else values
        return out

    def _of_segments(self, name: str, found: SegmentMap, arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Derives a field of [n, L] positions from where segments begin."""
        if name == BOUNDS:
            return found.bounds()
        if name != LOSS_WEIGHTS:
            return found.positions() if name == POSITIONS else found.segment_ids()
        weights = found.next_token_weights(across_documents=self.across_documents)
        if self.targets_only and PREFIX in arrays:
            # Weight i is for token i + 1. A token behind the last position is in no prefix: one of its document is before it.
            visible = arrays[PREFIX][:, 1:]
            weights[:, : visible.shape[1]] *= ~visible
        return weights

    def _targets(self, tokens: npt.NDArray[Any]) -> npt.NDArray[Any]:
        targets = np.full((len(tokens), self.seq_len), self.pad_id, dtype=tokens.dtype)
        targets[:, : tokens.shape[1] - 1] = tokens[:, 1:]
        return targets


def _padding_mask(arrays: Mapping[str, npt.NDArray[Any]], align: int) -> npt.NDArray[np.int32]:
    """Marks the tokens of [n, L] positions with 1, and padding with 0: behind the tokens, and in the gaps that `align` leaves."""
    count = arrays.get(schema.NUM_TOKENS)
    if align > 1:
        return (SegmentMap(arrays[schema.DOCUMENT_STARTS], count, align).segment_ids() > 0).astype(np.int32)
    shape = arrays[schema.TOKENS].shape
    return np.ones(shape, np.int32) if count is None else (np.arange(shape[1]) < count[:, None]).astype(np.int32)


def _text(arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Gives the tokens as they were before some were hidden: what stands in the slots goes back."""
    return _dense(arrays, arrays[schema.TOKENS].copy(), arrays["mask_ids"])


def _dense(arrays: Mapping[str, npt.NDArray[Any]], out: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Puts the [n, slots] values of the slots in use to their positions in [n, L] `out`, and returns it."""
    row, slot = np.nonzero(arrays["mask_weights"])
    out[row, arrays["mask_positions"][row, slot]] = values[row, slot]
    return out


def _made_by(objective: Any) -> Sequence[str] | None:
    shapes = getattr(objective, "output_shapes", None)
    return None if shapes is None else tuple(shapes())


def _hides_tokens(manifest: Manifest, objective: Any) -> str:
    """Names the objective that put other tokens in place of the text's, of the build or of the run; "" where there is none."""
    built = str(manifest.config.get("objective", {}).get("name", _PLAIN))
    if built != _PLAIN:  # the import takes longer than a plain dataset takes to its first batch
        from tokenreel.objectives.registry import OBJECTIVES

        if built in OBJECTIVES and OBJECTIVES[built][0].hides_tokens:
            return built
    return str(objective.called) if getattr(objective, "hides_tokens", False) else ""


def _loss_on_targets_only(manifest: Manifest, objective: Any) -> bool:
    """Says whether `loss_weights` leave out the prefixes of `prefix_lm`; datasets of its first version meant all tokens."""
    if objective is not None:
        return bool(getattr(objective, "loss_on_targets_only", True))
    only = bool(manifest.config.get("objective", {}).get("loss_on_targets_only", True))
    return only and manifest.algorithms.get("objective") != "prefix_lm-1"


def is_converted(feature: schema.Feature) -> bool:
    """Says whether `for_models` makes a copy of the feature in another dtype."""
    return feature.dtype in (schema.BIT, "uint8", "uint16")


def for_models(feature: schema.Feature, data: bytes | bytearray | npt.NDArray[np.uint8], rows: int) -> npt.NDArray[Any]:
    """Turns the bytes of a feature into an array that models take.

    Args:
      feature: whose bytes they are.
      data: the feature's bytes of n records, end to end.
      rows: n.

    Returns:
      [n, *shape]: unsigned integers as int32, bits as booleans, anything else as a view of the bytes.
    """
    if feature.dtype == schema.BIT:
        return feature.from_bytes(np.frombuffer(data, dtype=np.uint8).reshape(rows, feature.nbytes))
    values = np.frombuffer(data, dtype=_LITTLE[feature.dtype])
    if is_converted(feature):
        values = values.astype(np.int32)
    return values.reshape(rows, *feature.shape)
