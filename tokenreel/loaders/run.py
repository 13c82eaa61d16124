"""What a run is, apart from where it stands: which samples stand in which rows of which batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError, ConfigError
from tokenreel.format.segments import cumulative_lengths
from tokenreel.loaders.conversion import Conversion
from tokenreel.loaders.fields import BOUNDS, CU_SEQLENS, CURSOR, MAX_SEQLEN, OF_BATCH, Arrays
from tokenreel.loaders.order.plan import Located, Plan, batch_rows
from tokenreel.loaders.reader import Reader, Source
from tokenreel.loaders.run_options import RunOptions


class Run:
    """The batches of a plan as one host sees them. Nothing here changes while the run goes on, so several threads may ask it.

    Args:
      sources: the datasets, in the order of the plan's names.
      plan: the order of the samples.
      options: the size of a batch, its share for this host, and its end; what the sources and the plan were made with is not read again.

    Attributes:
      length: samples that the run delivers, over all hosts; None for a run without end.
      drop_remainder: whether a last batch that is short is left out.
      reader: reads what was located.
    """

    def __init__(self, sources: Sequence[Source], plan: Plan, options: RunOptions) -> None:
        self.sources, self.plan, self.options = tuple(sources), plan, options
        self.batch_size = int(options.batch_size)
        self.hosts, self.host, self.prefetch = options.hosts, options.host, options.prefetch
        self.drop_remainder, self.pad_remainder = options.drop_remainder and not options.pad_remainder, options.pad_remainder
        self.length = plan.length  # kept, because the plan searches for it each time
        self.reader = Reader(self.sources, self.pad_remainder)
        self._rows, self._has_boundaries, self._has_cursor = options.row_numbers(), options.has_boundaries, options.has_cursor
        self._convert = Conversion(options.rename, options.dtypes)
        if options.features is not None:
            self._convert.check([*options.features, *(["source"] if len(self.sources) > 1 else [])])
        self._samples_of_rows = batch_rows(self.batch_size, plan.shuffle)

    def check_yields(self) -> None:
        """Checks that the run has a batch, and this host a row of it: what would end at once, or give nothing for ever, is a mistake.

        Rows that are given may be none, as for a process of a mesh that holds no data.

        Raises:
          ConfigError: it has none; says what would give one.
        """
        if self._rows is None and self.hosts > self.batch_size:
            raise ConfigError(
                f"a batch of {self.batch_size} rows is shared by {self.hosts} hosts, so that some get none: make batch_size at least "
                f"{self.hosts}, or give `rows`"
            )
        if self.length == 0:
            raise ConfigError("this run holds no sample: `skip` leaves out all that its epochs or its mixture have")
        if self.num_batches == 0:
            raise ConfigError(
                f"this run holds no whole batch of {self.batch_size}: it has {self.length:,} samples. Make batches smaller or epochs more, "
                "or give pad_remainder=True (or drop_remainder=False)"
            )

    @property
    def num_batches(self) -> int | None:
        """Batches from the first sample to the last; None where there is no end."""
        if self.length is None:
            return None
        return self.length // self.batch_size if self.drop_remainder else -(-self.length // self.batch_size)

    def size_at(self, cursor: int) -> int:
        """Counts the samples in the global batch that begins at a sample; 0 at the end."""
        if self.length is None or self.length - cursor >= self.batch_size:
            return self.batch_size
        left = max(0, self.length - cursor)
        return 0 if self.drop_remainder else left

    def rows_at(self, cursor: int) -> npt.NDArray[np.int64]:
        """Gives the rows, int64 [k], that this host gets of the global batch at a sample; rows of padding are among them."""
        size = self.size_at(cursor)
        if size and self.pad_remainder:
            size = self.batch_size
        if self._rows is not None:
            return self._rows[self._rows < size]
        return np.arange(self.host * size // self.hosts, (self.host + 1) * size // self.hosts)

    def samples_at(self, cursor: int, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Gives the samples, int64 [k], in this host's (or the given [k]) rows of the batch that begins at a sample."""
        rows = self.rows_at(cursor) if rows is None else rows
        full = self.size_at(cursor) == self.batch_size
        return cursor + (self._samples_of_rows[rows] if full else rows)

    def complete(self, batch: Arrays, cursor: int, rows: int) -> Arrays:
        """Adds the fields that a batch has from the run, or as a whole, where `features` ask for them, and gives all their final form.

        `cursor` is int64 [rows]: in each row, padding too, the samples delivered over all hosts once the whole batch is.

        `cu_seqlens` is int32 [segments + 1], or of the declared size, over the rows of this host laid end to end, padding counted as
        segments; `max_seqlen` is int32 [], the length of the longest. They are made from `BOUNDS`, which goes.

        Args:
          batch: the rows of this host.
          cursor: the sample at which the batch begins.
          rows: how many rows of it there are.

        Raises:
          ConfigError: the declared size is too small, or a field cannot have the name or dtype that is wanted.
        """
        if self._has_boundaries:
            wanted = self.options.features or ()
            try:
                cumulative, longest = cumulative_lengths(batch.pop(BOUNDS), size=self.options.cu_seqlens_size)
            except BuildError as error:
                raise ConfigError(f"cu_seqlens_size: {error}") from None
            made = {CU_SEQLENS: cumulative, MAX_SEQLEN: np.array(longest, dtype=np.int32)}
            batch |= {name: made[name] for name in OF_BATCH if name in wanted}
        if self._has_cursor:
            batch[CURSOR] = np.full(rows, cursor + self.size_at(cursor), dtype=np.int64)
        return self._convert(batch)

    def name_of(self, field: str) -> str:
        """Gives the name that a field has in the batches: its own, unless `rename` gives it another."""
        return self._convert.name(field)

    def locate(self, samples: npt.NDArray[np.int64]) -> Located:
        """Says what int64 [k] samples are, as `Plan.locate`; with `pad_remainder`, samples behind the end are example -1.

        Raises:
          IndexError: a sample is negative, or lies behind the end of a run that is not padded.
        """
        if not self.pad_remainder or self.length is None or (real := samples < self.length).all():
            return self.plan.locate(samples)
        found = self.plan.locate(samples[real])
        out = Located(*(np.full(len(samples), fill, dtype=np.int64) for fill in (0, 0, -1)))
        for own, values in zip(out, found, strict=True):
            own[real] = values
        return out
