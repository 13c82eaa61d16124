"""Batches of a run: gathered, prefetched by one thread, and resumable from one integer."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders import trace
from tokenreel.loaders.fields import CURSOR, Arrays
from tokenreel.loaders.order.plan import ORDER_VERSION, Plan
from tokenreel.loaders.prefetch import Planner, Producer, stop
from tokenreel.loaders.reader import Source
from tokenreel.loaders.run import Run
from tokenreel.loaders.run_options import RunOptions
from tokenreel.wording import brief

STATE_FORMAT = "tokenreel-loader-1"


class Batches(Run, Iterator[Arrays]):
    """Iterates over the batches of a run. Made by `Dataset.batches` and `Mixture.batches`.

    The only state is `cursor`: samples delivered so far over all hosts. Batch k of the same plan is the same on every host, whatever came
    before.
    """

    def __init__(self, sources: Sequence[Source], plan: Plan, options: RunOptions) -> None:
        super().__init__(sources, plan, options)
        self._cursor = 0
        self._placed = True  # whether the place was chosen (at first, or by `seek`), and nothing delivered since
        self._start()

    def _start(self) -> None:
        self._planner = Planner(self)
        self._producers: list[Producer] = []  # at most one
        weakref.finalize(self, stop, self._producers)

    # Position.

    @property
    def cursor(self) -> int:
        """Samples delivered so far, over all hosts."""
        return self._cursor

    @property
    def pass_start(self) -> int:
        """The sample at which an adapter that passes over the run again and again begins its next pass.

        A run that ends begins anew, unless its place was chosen by `seek` or `set_state` and nothing was delivered since. A run without end
        goes on from what was delivered last.
        """
        return self._cursor if self._placed or self.length is None else 0

    # Batches.

    def batch_at(self, cursor: int, rows: npt.ArrayLike | None = None) -> Arrays:
        """Reads the batch that begins at a sample, without moving: a pure function, safe to call from several threads.

        Args:
          cursor: samples delivered before it.
          rows: int [k] rows of the global batch to read; None for this host's.

        Raises:
          IndexError: the run has ended there.
          ManifestError: a record is not what was written.
        """
        if rows is None:
            return self._planner.batch(cursor)
        chosen = np.asarray(rows, dtype=np.int64).reshape(-1)
        return self.complete(self.reader.read(self.locate(self.samples_at(cursor, chosen))), cursor, len(chosen))

    def example_batch(self) -> Arrays:
        """Reads a batch of one row, the first of the run: for the names, dtypes and shapes of the fields.

        Raises:
          ConfigError: the run has no batch at all.
        """
        if not self.size_at(0):
            raise ConfigError(f"this run holds no whole batch of {self.batch_size}: make batches smaller, or give pad_remainder=True")
        return self.batch_at(0, rows=[0])

    def with_rows(self, rows: npt.ArrayLike) -> Batches:
        """Makes another iterator over the same run, from the same place, that gets exactly the int [k] rows given of the global batch.

        Raises:
          ConfigError: a row is outside the global batch.
        """
        other = Batches(self.sources, self.plan, dataclasses.replace(self.options, rows=rows))
        other.seek(self._cursor)
        return other

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Arrays:
        size = self.size_at(self._cursor)
        if size == 0:
            self.close()
            raise StopIteration
        if self.prefetch:
            if self._producers and not self._producers[0].is_of_this_process():
                self._producers.clear()  # a fork has this object, but not its thread
            if not self._producers:
                self._producers.append(Producer(Planner(self), self._cursor, self.prefetch))
            try:
                batch = self._producers[0].take()
            except BaseException:
                self.close()  # its thread has ended: asking again starts another
                raise
        else:
            batch = self._planner.batch(self._cursor)
        self._cursor += size
        self._placed = False
        return batch

    def mark_delivered(self, cursor: int) -> None:
        """Notes that an adapter, which reads by `batch_at` or in other processes, has delivered everything before a sample."""
        self._cursor = int(cursor)
        self._placed = False

    def close(self) -> None:
        """Stops the prefetch thread; iteration may go on, and starts another."""
        stop(self._producers)

    def __getstate__(self) -> dict[str, Any]:
        # A thread and its queue stay here; the copy starts its own when it is first asked.
        return {name: value for name, value in vars(self).items() if name not in ("_producers", "_planner")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    # State.

    def get_state(self, cursor: int | None = None) -> dict[str, Any]:
        """Gives what a checkpoint keeps, in JSON's types. Only `cursor` changes while a run goes on.

        Args:
          cursor: of another place than this iterator's, for consumers that lag behind it; `state_after` finds it in a batch.
        """
        description = self.plan.describe()
        listed: list[dict[str, Any]] = description["sources"]  # type: ignore[assignment]
        for entry, source in zip(listed, self.sources, strict=True):
            entry["fingerprint"] = source.dataset.fingerprint
        return {
            "cursor": self._cursor if cursor is None else int(cursor),
            "fingerprint": keys.digest(*(source.dataset.fingerprint for source in self.sources)),
            "format": STATE_FORMAT,
            "mixture": description,
            "order_version": ORDER_VERSION,
            "seed": self.plan.seed,
            "skip": [list(pair) for pair in self.plan.skip],
        }

    def state_after(self, batch: Any) -> dict[str, Any]:
        """Gives the state of the run once a batch is trained on, however many batches were fetched since.

        Args:
          batch: from this run, with "cursor" among its features; or that field alone. The arrays may be those of any framework.

        Raises:
          ConfigError: the batch carries no cursor.
        """
        found = batch.get(self.name_of(CURSOR)) if isinstance(batch, Mapping) else batch
        if not self.options.has_cursor or found is None:
            raise ConfigError(f'the batch carries no cursor: make the run with features=[..., "{CURSOR}"]')
        if not len(found):
            raise ConfigError("the batch has no row on this host, so it carries no cursor: ask a host that has one")
        return self.get_state(int(found[0]))

    def set_state(self, state: Mapping[str, Any], *, allow_changes: bool = False) -> None:
        """Goes on where a run stood; hosts, batch size, features and prefetching may have changed.

        Args:
          state: from `get_state`.
          allow_changes: goes on with other data, another seed, mixture or skipped ranges, from the same place of the stream. What has been
            seen is then no longer what this plan says, unless the change lies ahead: a later stage, or a range to skip.

        Raises:
          ManifestError: the state is of another format, or of a run with another order of examples; says what differs.
        """
        self.seek(self.cursor_of(state, allow_changes=allow_changes))

    def _moved(self, state: Mapping[str, Any]) -> str:
        """Says where the data of a state is, if pointers that were given here named it and name other data now; else nothing."""
        mixture = state.get("mixture")
        saved = mixture.get("sources") if isinstance(mixture, Mapping) else None
        text = ""
        for source, entry in zip(self.sources, saved if isinstance(saved, list) else [], strict=False):
            fingerprint = entry.get("fingerprint") if isinstance(entry, Mapping) else None
            if fingerprint != source.dataset.fingerprint and (path := source.dataset.find_published(fingerprint)) is not None:
                text += f"{source.dataset.pointer} has moved: when the state was saved it named {path}; give that path to go on. "
        return text

    def cursor_of(self, state: Mapping[str, Any], *, allow_changes: bool = False) -> int:
        """Gives the sample at which a state stands in this run, without moving there; arguments and errors are those of `set_state`."""
        if state.get("format") != STATE_FORMAT:
            raise ManifestError(f"loader state of format {brief(state.get('format'))}, this version reads {STATE_FORMAT!r}")
        own = self.get_state()
        changed = [name for name in ("order_version", "fingerprint", "seed", "mixture", "skip") if state.get(name) != own[name]]
        if changed and not allow_changes:
            name = changed[0]
            raise ManifestError(
                f"the loader state was saved by a run with {name} {brief(state.get(name))}, this one has {brief(own[name])}: "
                f"it would see other examples. {self._moved(state)}Open the same data with the same settings, or accept it with "
                "set_state(state, allow_changes=True)."
            )
        cursor = whole_cursor(state)
        if "skip" in changed:
            # Samples are numbered without the skipped ranges: the same place of the stream has another number now.
            try:
                skip = [(int(start), int(end)) for start, end in state.get("skip", [])]
            except (TypeError, ValueError) as error:
                raise ManifestError(f"the loader state is malformed: its skip holds no ranges, but {brief(state['skip'])}.") from error
            before = Plan(self.plan.names, self.plan.examples, seed=self.plan.seed, stages=self.plan.stages, skip=skip)
            cursor = self.plan.delivered_before(int(before.stream_positions([cursor])[0]))
        if self.length is not None and cursor > self.length:
            raise ManifestError(
                f"the loader state stands at sample {cursor:,}, this run ends at {self.length:,}. Give it more epochs or a later end."
            )
        return cursor

    def seek(self, cursor: int) -> None:
        """Moves to a sample: the next batch begins there."""
        self.close()
        self._cursor = int(cursor)
        self._placed = True

    # Tracing.

    def where(self, step: int, *, rows: npt.ArrayLike | None = None, vocabulary: Any = None) -> list[Mapping[str, Any]]:
        """Says what is in a step; see `trace.where`."""
        return trace.where(self, step, rows=rows, vocabulary=vocabulary)

    def when(self, example: int, source: str | int = 0, *, limit: int | None = None) -> list[Mapping[str, int]]:
        """Lists the steps that see an example; see `trace.when`."""
        return trace.when(self, example, source, limit=limit)


def whole_cursor(state: Mapping[str, Any]) -> int:
    """Reads the cursor of a state.

    Raises:
      ManifestError: it is no whole number from 0 on.
    """
    cursor = state.get("cursor")
    if isinstance(cursor, bool) or not isinstance(cursor, int) or not 0 <= cursor < 1 << 62:
        raise ManifestError(f"the loader state is malformed: its cursor must be a whole number from 0 on, got {brief(cursor)}.")
    return cursor
