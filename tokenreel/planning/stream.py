"""Where the examples of a wrapped split begin in its stream of tokens.

Mostly every `seq_len` tokens. For objectives that draw how many tokens an example takes (UL2), at the running sum of what the examples
before take, which depends on their numbers alone.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from tokenreel.layouts import wrapping
from tokenreel.layouts.table import Layout
from tokenreel.objectives.ul2 import MixtureOfDenoisers
from tokenreel.planning.recipe import Recipe

_CHUNK = 1 << 16  # examples whose tokens are summed, and the sum remembered


@functools.lru_cache(maxsize=1 << 14)
def _chunk_tokens(objective: MixtureOfDenoisers, seed: int, chunk: int) -> int:
    """Counts the tokens that a chunk of examples takes; every shard asks for all chunks before its own."""
    return int(objective.raw_lengths(np.arange(chunk * _CHUNK, (chunk + 1) * _CHUNK), seed=seed).sum())


@dataclasses.dataclass(frozen=True)
class Stream:
    """The examples of a wrapped split as ranges of its tokens.

    Attributes:
      recipe: what is built.
    """

    recipe: Recipe

    @property
    def _drawn(self) -> MixtureOfDenoisers | None:
        """The objective, if it draws how many tokens an example takes."""
        return self.recipe.objective if isinstance(self.recipe.objective, MixtureOfDenoisers) else None

    def _lengths(self, low: int, high: int) -> npt.NDArray[np.int64]:
        assert self._drawn is not None
        return self._drawn.raw_lengths(np.arange(low, high), seed=self.recipe.config.seed)

    def begin(self, example: int) -> int:
        """Gives the token with which an example begins."""
        if self._drawn is None:
            return example * self.recipe.packing.seq_len
        chunks, rest = divmod(example, _CHUNK)
        whole = sum(_chunk_tokens(self._drawn, self.recipe.config.seed, chunk) for chunk in range(chunks))
        return whole + int(self._lengths(example - rest, example).sum())

    def count(self, tokens: int) -> int:
        """Counts the examples that a stream of so many tokens makes."""
        config = self.recipe.packing
        if self._drawn is None:
            return wrapping.wrapped_examples(tokens, config.seq_len, config.overlap, last_example=config.last_example or "drop")
        # Whole chunks first, from remembered sums; the lengths of single examples are drawn for the last chunk alone.
        chunk = begin = 0
        while (more := _chunk_tokens(self._drawn, self.recipe.config.seed, chunk)) + begin <= tokens:
            chunk, begin = chunk + 1, begin + more
        ends = begin + np.cumsum(self._lengths(chunk * _CHUNK, (chunk + 1) * _CHUNK))
        whole = chunk * _CHUNK + int(np.searchsorted(ends, tokens, side="right"))
        return whole + (config.last_example == "pad" and self.begin(whole) < tokens)

    def end(self, example: int) -> int:
        """Gives the token behind the last one of the example before, its overlap included."""
        return self.begin(example) + self.recipe.packing.overlap

    def lay_out(self, lengths: npt.NDArray[np.int64], first_offset: int, first_example: int, num_examples: int) -> Layout:
        """Lays out some examples, given the documents that touch them.

        Args:
          lengths: int64 [num_documents] whole lengths of consecutive documents.
          first_offset: the token of the split with which the first document begins.
          first_example: number of the first example wanted.
          num_examples: how many; if the documents end early, the last one is short.

        Raises:
          BuildError: the documents do not cover the examples.
        """
        config = self.recipe.packing
        if self._drawn is None:
            return wrapping.wrap_range(lengths, first_offset, config.seq_len, config.overlap, first_example, num_examples)
        cuts = np.cumsum(np.append(self.begin(first_example), self._lengths(first_example, first_example + num_examples)))
        return wrapping.wrap_cuts(lengths, first_offset, cuts)
