"""The work of converters on blocks, without what makes it a feature converter: check, prepare, pad or pack, finish.

Tested in tests/tokenreel/tasks/feature_converters/test_base.py and tests/tokenreel/tasks/feature_converters/test_converted_stream.py.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.ragged import Ints
from tokenreel.tasks.feature_converters import blocks
from tokenreel.tasks.feature_converters.blocks import Block
from tokenreel.tasks.feature_converters.rows import (
    POSITIONS,
    SEGMENT_IDS,
    Rows,
    fill_rows,
    pack_rows,
    packed_lengths,
    pad_rows,
    plan_block,
    row_costs,
)
from tokenreel.tasks.feature_converters.specs import FeatureSpec, Lengths, Specs

SEQIO = "seqio"


class RowMaker(abc.ABC):
    """Makes rows of blocks of examples.

    Args:
      pack: whether several examples share a row.
      apply_length_check: whether an example that is longer than the length given is an error; it is trimmed otherwise.
      compat: "seqio" for SeqIO's answers, None for the right ones.

    Raises:
      ConfigError: `compat` is neither.
    """

    def __init__(self, *, pack: bool, apply_length_check: bool, compat: str | None) -> None:
        if compat not in (None, SEQIO):
            raise ConfigError(f"compat must be 'seqio' or None, got {compat!r}")
        self._pack, self._apply_length_check, self._compat = pack, apply_length_check, compat

    @property
    def pack(self) -> bool:
        """Whether several examples share a row."""
        return self._pack

    @property
    def compat(self) -> str | None:
        """`seqio` for SeqIO's answers, None for the right ones."""
        return self._compat

    @property
    def zero_is_padding(self) -> bool:
        """Whether a 0 counts as padding wherever it stands, as in SeqIO."""
        return self._compat == SEQIO

    @property
    def makes_whole_blocks(self) -> bool:
        """Whether a class of its own makes whole blocks into rows, so that none goes on in the next block."""
        return False

    @abc.abstractmethod
    def task_specs(self) -> Mapping[str, FeatureSpec]:
        """What is taken of each example."""

    @abc.abstractmethod
    def finish(self, rows: Rows) -> Rows:
        """Makes what is given on of padded or packed rows."""

    def prepare(self, block: Block, task_feature_lengths: Lengths) -> tuple[Block, Lengths]:
        """Makes the features that are padded or packed; here they are those of the task.

        Returns:
          the block, and the length of each of its features.
        """
        return block, task_feature_lengths

    def check(self, block: Block, lengths: Lengths) -> None:
        """Checks that a block holds what is taken.

        Raises:
          ConfigError: a feature is missing, of another dtype or rank, or too long.
        """
        blocks.check(block, self.task_specs(), lengths, check_lengths=self._apply_length_check)

    def convert_rows(self, block: Block, task_feature_lengths: Lengths) -> Rows:
        """Makes rows of a block; packing begins and ends with it."""
        self.check(block, task_feature_lengths)
        prepared, lengths = self.prepare(block, task_feature_lengths)
        return self.pack_rows(prepared, lengths)[0] if self.pack else self.finish(self.pad(prepared, lengths))

    def costs(self, block: Block, task_feature_lengths: Lengths) -> tuple[dict[str, Ints], dict[str, int]]:
        """Gives what each example brings into a packed row, and how much of that a row has room for, by the features that are packed."""
        prepared, lengths = self.prepare(block, task_feature_lengths)
        capacities = packed_lengths(prepared, lengths)
        return row_costs(prepared, capacities, zero_is_padding=self.zero_is_padding), capacities

    def plan(self, costs: Mapping[str, Ints], capacities: Mapping[str, int], first: int = 0, *, ended: bool = True) -> tuple[Ints, int]:
        """Divides examples among packed rows by what `costs` gives; see `rows.plan_block`."""
        flush_every = self._flush_every(capacities)
        return plan_block(costs, capacities, flush_every=flush_every, zero_is_padding=self.zero_is_padding, first=first, ended=ended)

    def _flush_every(self, positions: Mapping[str, int]) -> int | None:
        return max(positions.values()) if self.compat == SEQIO else None

    def fill_planned(self, block: Block, task_feature_lengths: Lengths, heads: Ints | None) -> Rows:
        """Makes rows of checked examples whose division among rows is known.

        Args:
          block: of examples.
          task_feature_lengths: positions of each feature.
          heads: the first example of each packed row; None makes a row of each example.
        """
        prepared, lengths = self.prepare(block, task_feature_lengths)
        if heads is None:
            return self.finish(self.pad(prepared, lengths))
        capacities = packed_lengths(prepared, lengths)
        costs = row_costs(prepared, capacities, zero_is_padding=self.zero_is_padding)
        return self.finish(fill_rows(prepared, capacities, costs, heads, zero_is_padding=self.zero_is_padding))

    def pad(self, prepared: Block, lengths: Lengths) -> Rows:
        """Makes a row of each example; see `rows.pad_rows`."""
        return pad_rows(prepared, lengths, zero_is_padding=self.zero_is_padding)

    def pack_rows(self, prepared: Block, lengths: Lengths, first: int = 0, *, ended: bool = True) -> tuple[Rows, Ints, int]:
        """Packs and finishes; see `rows.pack_rows`."""
        positions = packed_lengths(prepared, lengths)
        rows, heads, done = pack_rows(
            prepared, positions, flush_every=self._flush_every(positions), zero_is_padding=self.zero_is_padding, first=first, ended=ended
        )
        return self.finish(rows), heads, done


class Packer(RowMaker):
    """Packs features under their own names, with `_segment_ids` and `_positions`; longer examples are trimmed.

    Args:
      specs: of the features.
      compat: see `RowMaker`.
    """

    def __init__(self, specs: Specs, compat: str | None = None) -> None:
        super().__init__(pack=True, apply_length_check=False, compat=compat)
        self._specs = specs

    def task_specs(self) -> Mapping[str, FeatureSpec]:
        """What is packed."""
        return self._specs

    def finish(self, rows: Rows) -> Rows:
        """Leaves out what only converters ask for."""
        return {name: rows[name] for name in self.shapes(dict.fromkeys(self._specs, 0))}

    def shapes(self, lengths: Lengths) -> dict[str, tuple[Any, tuple[int | None, ...]]]:
        """Gives the dtype and shape of what is made."""
        shapes: dict[str, tuple[Any, tuple[int | None, ...]]] = {}
        for name, spec in self._specs.items():
            shapes[name] = spec.dtype, (lengths[name], *[None] * (spec.rank - 1))
            shapes |= {name + suffix: (np.dtype(np.int32), (lengths[name],)) for suffix in (SEGMENT_IDS, POSITIONS)}
        return shapes
