"""What every training objective is: settings, the shapes it needs and makes, and a pure function on arrays.

An objective's random choices are a function of (seed, variant, epoch, example id) and of the example's own tokens. So the same code
corrupts examples once, when a dataset is built, or anew in each epoch, in the loader; and neither batch, worker nor order changes a byte.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import BuildError, ConfigError

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """Settings of an objective, and what it does with examples.

    Attributes:
      seq_len: positions that the model reads (of its encoder, if it has one).
      vocab_size: ids are below this.
      pad_id: fills what is not used.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1  # of what a build makes by this name; rises with any change of its bytes
    stream: ClassVar[int] = 1  # of random numbers; stays when the version rises, so that older datasets keep their choices
    varies_length: ClassVar[bool] = False  # examples differ in raw length
    changes_documents: ClassVar[bool] = False  # before they are laid out
    hides_tokens: ClassVar[bool] = False  # `tokens` are no longer the text afterwards

    seq_len: int
    vocab_size: int
    pad_id: int = 0

    @property
    def called(self) -> str:
        """Names the objective as the config does: `spanbert` is a name for settings of `masked_lm`, which decides bytes by its own name."""
        return str(vars(self).get("_called", self.name))

    def __post_init__(self) -> None:
        if self.seq_len < 2:
            raise ConfigError(f"objective {self.called} needs at least 2 positions, packing.seq_len is {self.seq_len}")
        if not 0 <= self.pad_id < self.vocab_size:
            raise ConfigError(f"objective.pad_id must be an id of the vocabulary, 0 to {self.vocab_size - 1}, got {self.pad_id}")

    def raw_length(self) -> int:
        """Gives the tokens that an example holds before the objective is applied, without overlap: the length to lay documents out for."""
        return self.seq_len

    def even_length(self) -> int:
        """Gives the most tokens of which an example loses none, whatever is drawn for it: `raw_length`, unless `varies_length`.

        Layouts in which all examples have one length are made for this; a stream is cut by `raw_lengths`.
        """
        return self.raw_length()

    def takes(self, width: int) -> bool:
        """Says whether `apply` takes examples of so many tokens: `raw_length`, or more where an overlap holds targets."""
        return width == self.raw_length()

    def raw_lengths(self, example_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> Ints:
        """Gives the tokens that fill each example, int64 [n]: all `raw_length`, unless `varies_length`.

        They depend on nothing but the ids, so that a stream can be cut before it is read (`layouts.wrapping.wrap_cuts`).
        """
        return np.full(np.asarray(example_ids).shape, self.raw_length(), np.int64)

    def document_lengths(self, lengths: npt.ArrayLike, document_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> Ints:
        """Gives the tokens that each document has after `rearrange`, from its length alone: what to lay out.

        Args:
          lengths: int [n] tokens of the documents.
          document_ids: integers [n] that identify the documents.
          seed: see `apply`.
          variant: see `apply`.
          epoch: see `apply`.

        Returns:
          int64 [n].
        """
        return np.asarray(lengths, dtype=np.int64)

    def rearrange(
        self, tokens: Array, offsets: npt.ArrayLike, document_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0
    ) -> tuple[Array, Ints]:
        """Rearranges whole documents before they are laid out. The default returns them unchanged.

        Args:
          tokens: [num_tokens] ids of any integer dtype, documents end to end.
          offsets: int [n + 1] where each begins, and the end.
          document_ids: integers [n] that identify the documents.
          seed: see `apply`.
          variant: see `apply`.
          epoch: see `apply`.

        Returns:
          tokens and int64 [n + 1] offsets of the documents, in the same order.
        """
        return tokens, np.asarray(offsets, dtype=np.int64)

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Gives the dtype (as in `schema.DTYPES`) and the shape, in one example, of each array that `apply` makes or replaces."""
        raise NotImplementedError

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """Refuses a layout that cannot feed the objective.

        Raises:
          ConfigError: names the setting that would work.
        """

    def apply(self, arrays: Arrays, example_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> dict[str, Array]:
        """Corrupts examples.

        Args:
          arrays: `tokens` [n, raw_length] (or what else it `takes`) of any integer dtype, `document_starts` bool of the same shape (absent:
            the example is one document), `num_tokens` int [n] (absent: all are full). Others are passed on.
          example_ids: int [n].
          seed: of the build or of the training run.
          variant: which variant of the dataset.
          epoch: which pass over it, where the objective is applied on the fly.

        Returns:
          The arrays of `output_shapes`, and those of the input that still hold.

        Raises:
          BuildError: the arrays do not have the shape that the settings ask for.
        """
        tokens, starts, num_tokens = self._inputs(arrays)
        ids = np.asarray(example_ids)
        if ids.shape != (len(tokens),):
            raise BuildError(f"{len(tokens)} examples need {len(tokens)} example ids, got an array of shape {ids.shape}")
        draw = self._draw(seed, variant, epoch)
        # Every example is done by itself, so parts of the rows give the same bytes as all rows at once, and stay in the cache.
        out = {name: np.zeros((len(tokens), *shape), _dtype(dtype)) for name, (dtype, shape) in self.output_shapes().items()}
        for part in chunks(len(tokens), tokens.shape[1], self._chunk_tokens):
            made = self._corrupt(tokens[part], None if starts is None else starts[part], num_tokens[part], ids[part], draw)
            for name, values in made.items():
                out[name][part] = values
        return {**self._kept(arrays), **out}

    def _draw(self, seed: int, variant: int, epoch: int) -> Draw:
        return Draw(keys.key(seed, "objective", variant, epoch), f"{self.name}-{self.stream}")

    def marks(self) -> tuple[int, ...]:
        """Lists the ids that the objective itself writes: the mask, sentinels, mode tokens."""
        return ()

    _chunk_tokens: ClassVar[int] = 1 << 16  # done at a time
    _drops: ClassVar[tuple[str, ...]] = ()  # arrays that no longer hold afterwards

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        """Makes the arrays of `output_shapes` for some examples.

        Args:
          tokens: [n, raw_length] ids of any integer dtype.
          starts: bool of the same shape, where documents begin; None where each example is one document.
          num_tokens: int64 [n] real tokens.
          ids: [n] example ids, which name the random words.
          draw: makes the random words.
        """
        raise NotImplementedError

    def _kept(self, arrays: Arrays) -> dict[str, Array]:
        return {name: values for name, values in arrays.items() if name not in self._drops}

    def _inputs(self, arrays: Arrays) -> tuple[Array, Bools | None, Ints]:
        """Gives the tokens, document starts and numbers of tokens of examples as `_corrupt` takes them.

        Raises:
          BuildError: the objective is not made for these arrays.
        """
        tokens = arrays["tokens"]
        if tokens.ndim != 2 or not self.takes(tokens.shape[1]):
            raise BuildError(
                f"objective {self.called} with seq_len {self.seq_len} takes examples of {self.raw_length()} tokens, got {tokens.shape}: "
                "lay documents out for the raw length."
            )
        low, high = (int(tokens.min()), int(tokens.max())) if tokens.size else (0, 0)
        if low < 0 or high >= self.vocab_size:
            raise BuildError(f"tokens run from {low} to {high}, the vocabulary has {self.vocab_size} ids: it is not the one that made them")
        n, length = tokens.shape
        num_tokens = np.full(n, length, np.int64) if "num_tokens" not in arrays else arrays["num_tokens"].astype(np.int64)
        return tokens, arrays.get("document_starts"), num_tokens

    def restore(self, arrays: Arrays) -> Array:
        """Gives the tokens [n, raw_length] back from what `apply` made, padded with `pad_id`.

        Raises:
          NotImplementedError: what the objective did cannot be undone.
        """
        raise NotImplementedError(f"objective {self.called} cannot be undone")

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Counts what was done to examples: integers and integer arrays that add up over parts of a dataset."""
        return {"examples": len(before["tokens"]), "tokens": int(token_counts(before).sum())}


@dataclasses.dataclass(frozen=True)
class Draw:
    """Random words for examples, one independent stream for each decision.

    Streams do not share words, so another mask rate leaves the replacements of the tokens masked in both cases alone.
    """

    seed: int
    scope: str

    def states(self, decision: str, ids: npt.ArrayLike) -> Words:
        """Gives the state of each example's stream, for `keys.words_at`: uint64 [n]."""
        return keys.streams(self.seed, f"{self.scope}/{decision}", ids)

    def words(self, decision: str, ids: npt.ArrayLike, count: int) -> Words:
        """Gives `count` words for each example: uint64 [n, count]."""
        return keys.bits(self.seed, f"{self.scope}/{decision}", ids, count)

    def word(self, decision: str, ids: npt.ArrayLike) -> Words:
        """Gives a word for each example: uint64 [n]."""
        return keys.words_at(self.states(decision, ids), 0)


def chunks(rows: int, width: int, tokens: int) -> Iterator[slice]:
    """Cuts rows into parts of about so many tokens."""
    step = max(1, tokens // max(1, width))
    for at in range(0, rows, step):
        yield slice(at, min(rows, at + step))


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(np.bool_) if name == "bit" else np.dtype(name)


def token_counts(arrays: Arrays) -> Ints:
    """Counts the real tokens of each example: int64 [n]."""
    tokens = arrays["tokens"]
    return arrays["num_tokens"].astype(np.int64) if "num_tokens" in arrays else np.full(len(tokens), tokens.shape[1], np.int64)


def position_dtype(length: int) -> str:
    """Names the narrowest dtype for positions of an example."""
    return "uint16" if length <= 1 << 16 else "int32"


def id_table(ids: npt.ArrayLike, vocab_size: int, what: str) -> Bools:
    """Turns a list of ids into bool [vocab_size].

    Raises:
      ConfigError: one is not in the vocabulary.
    """
    ids = np.asarray(ids, dtype=np.int64).reshape(-1)
    if len(ids) and not (ids.min() >= 0 and ids.max() < vocab_size):
        raise ConfigError(f"objective.{what} holds ids of the vocabulary, 0 to {vocab_size - 1}, got {ids.tolist()}")
    table = np.zeros(vocab_size, np.bool_)
    table[ids] = True
    return table


def special_table(special_ids: npt.ArrayLike, objective: Objective, *, pads_with_text: bool = False) -> Bools:
    """Marks the ids that an objective neither hides nor draws, bool [vocab_size]: those given, those it writes, and padding.

    Args:
      special_ids: int [k].
      objective: whose `marks` and `pad_id` are special too.
      pads_with_text: whether `pad_id` is an id of the text, as in vocabularies with neither pad nor eos: `num_tokens` alone tells padding.

    Raises:
      ConfigError: an id is not in the vocabulary.
    """
    pad = () if pads_with_text else (objective.pad_id,)
    return id_table([*np.asarray(special_ids, dtype=np.int64).reshape(-1), *objective.marks(), *pad], objective.vocab_size, "special_ids")


def check_id(name: str, value: int, vocab_size: int) -> None:
    """Refuses an id that is not in the vocabulary.

    Raises:
      ConfigError: see above.
    """
    if not 0 <= value < vocab_size:
        raise ConfigError(f"objective.{name} must be an id of the vocabulary, 0 to {vocab_size - 1}, got {value}")


def compact(values: Array, keep: Bools, width: int, fill: int) -> tuple[Array, Ints]:
    """Moves the kept values of each row to its left.

    Args:
      values: [n, L] of any dtype.
      keep: bool [n, L], at most `width` in a row.
      width: of the result.
      fill: what stands behind them.

    Returns:
      [n, width] and the int64 [n] number kept.
    """
    counts = np.count_nonzero(keep, axis=1)
    flat = values[keep]
    if len(counts) and (counts == width).all():  # the usual case when a dataset is built, and no mask is needed
        return flat.reshape(len(values), width), counts
    out = np.full((len(values), width), fill, values.dtype)
    out[np.arange(width) < counts[:, None]] = flat
    return out, counts
