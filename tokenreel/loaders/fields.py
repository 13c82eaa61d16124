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
SEGMENT_IDS, POSITIONS, LOSS_WEIGHTS = "segment_ids", "positions", "loss_weights"
DERIVED = (INPUTS, TARGETS, SEGMENT_IDS, POSITIONS, LOSS_WEIGHTS)
CU_SEQLENS, MAX_SEQLEN = "cu_seqlens", "max_seqlen"
OF_BATCH = (CU_SEQLENS, MAX_SEQLEN)  # of a whole batch, so without an axis of rows: see `Run.complete`
BOUNDS = "segment_bounds"  # what those two are made from, once all rows of a batch are there
CURSOR = "cursor"  # of a run, in each row of its batches: see `Run.complete`
Arrays = dict[str, npt.NDArray[Any]]
_LITTLE = {name: np.dtype(name).newbyteorder("<") for name in schema.DTYPES if name != schema.BIT}


def align_of(manifest: Manifest) -> int:
    """Gives the multiple of positions that each segment takes (`packing.align`); 1 where segments follow each other without a gap."""
    return int(manifest.config.get("packing", {}).get("align") or 1)


class Fields:
    """Chooses and derives the fields of a batch.

    Args:
      manifest: of the dataset.
      names: stored features and any of `DERIVED`; None takes what is stored. A stored feature goes before a derived one of its name.
      made: names that an objective adds to the stored ones; None where they are not known before it is computed.
      across_documents: whether `loss_weights` count the prediction of a document's first token (GPT-2 does; segment-aware attention must
        not).
      bounds: whether to add `BOUNDS`, bool [n, L]: where segments and padding begin.

    `inputs` and `targets` are the two sides of next-token prediction: [n, seq_len], from the stored overlap where there is one; without it
    the last target is padding and its weight 0. Beside them `segment_ids`, `positions` and `loss_weights` are those of the inputs; alone
    they cover all stored tokens.

    Raises:
      ConfigError: there is no such feature, or what it derives from is not stored.
    """

    def __init__(
        self,
        manifest: Manifest,
        names: Sequence[str] | None = None,
        *,
        made: Sequence[str] | None = (),
        across_documents: bool = False,
        bounds: bool = False,
    ) -> None:
        stored = [feature.name for feature in manifest.features]
        self.names = (tuple(stored) if names is None else tuple(names)) + ((BOUNDS,) if bounds else ())
        self.everything = names is None
        self.across_documents = across_documents
        self.seq_len, self.overlap, self.pad_id = manifest.seq_len, manifest.overlap, manifest.pad_id
        self.align = align_of(manifest)
        self._needs: set[str] = set()
        for name in self.names:
            if name in stored:
                self._needs.add(name)
            elif name in DERIVED or name == BOUNDS:
                wanted = {INPUTS: {schema.TOKENS}, TARGETS: {schema.TOKENS}}.get(name, {schema.DOCUMENT_STARTS})
                if not wanted <= set(stored):
                    asked = CU_SEQLENS if name == BOUNDS else name
                    raise ConfigError(
                        f"{asked} is derived from {', '.join(wanted)}, which the records do not hold; they hold {', '.join(stored)}"
                    )
                # Where examples are padded, everything derived depends on where the padding begins.
                self._needs |= wanted | ({schema.NUM_TOKENS} & set(stored))
            elif name in OF_BATCH:
                raise ConfigError(f"{name} is of a whole batch, not of an example: ask for it in batches(features=[...])")
            elif made is not None and name not in made:
                raise ConfigError(f"no feature {name!r}; the records hold {', '.join(stored)}, and {', '.join(DERIVED)} can be derived")
        self.stored = tuple(name for name in stored if name in self._needs)
        self._nothing_derived = self.stored == self.names

    def __call__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        """Picks the wanted fields from {name: [n, ...]} stored (or made) arrays, and derives those that are not there.

        Raises:
          ConfigError: a wanted field is neither there nor derived.
        """
        # Most runs ask for what is stored, and a batch is small: nothing is looked up for them.
        if self.everything or (self._nothing_derived and len(arrays) == len(self.names)):
            return dict(arrays)
        shifted = (INPUTS in self.names and INPUTS not in arrays) or (TARGETS in self.names and TARGETS not in arrays)
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
                out[name] = self._targets(arrays[schema.TOKENS])
            else:
                if schema.DOCUMENT_STARTS not in arrays:
                    raise ConfigError(f"{name} is derived from {schema.DOCUMENT_STARTS}, and the objective makes {', '.join(arrays)}")
                if found is None:  # the map serves all of the fields below
                    found = SegmentMap(arrays[schema.DOCUMENT_STARTS], arrays.get(schema.NUM_TOKENS), self.align)
                values: npt.NDArray[Any]
                if name == LOSS_WEIGHTS:
                    values = found.next_token_weights(across_documents=self.across_documents)
                elif name == BOUNDS:
                    values = found.bounds()
                else:
                    values = found.positions() if name == POSITIONS else found.segment_ids()
                # Beside inputs the fields are the inputs' own: the token shared with the next example has no position there.
                out[name] = np.ascontiguousarray(values[:, : self.seq_len]) if shifted else values
        return out

    def _targets(self, tokens: npt.NDArray[Any]) -> npt.NDArray[Any]:
        targets = np.full((len(tokens), self.seq_len), self.pad_id, dtype=tokens.dtype)
        targets[:, : tokens.shape[1] - 1] = tokens[:, 1:]
        return targets


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
