"""Batches of a run: planned in bulk, gathered, prefetched by one thread, and resumable from one integer."""

from __future__ import annotations

import os
import queue
import resource
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel import keys, schema
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders.fields import INPUTS, TARGETS, Arrays, Fields
from tokenreel.order import ORDER_VERSION, Located, Plan, batch_rows

if TYPE_CHECKING:
    from tokenreel.loaders.dataset import Dataset

STATE_FORMAT = "tokenreel-loader-1"
_PLAN_AHEAD = 4096  # samples planned at once: below a thousand, overhead dominates
_MIXED_AHEAD = 8192  # the same for mixtures, in samples of all hosts
_READ_AHEAD = 4  # batches whose pages are asked for before they are read
_PROBE_EVERY = 256  # batches of read-ahead after which reading goes without, to see whether it still waits
_LOOK_EVERY = 4  # batches without read-ahead between two looks


class Source:
    """A dataset as a part of a run: what is read of it, and the objective that is computed on it."""

    def __init__(
        self,
        dataset: Dataset,
        features: Sequence[str] | None,
        *,
        across_documents: bool,
        objective: Any,
        variant: int,
        seed: int,
        name: str,
    ) -> None:
        self.dataset, self.name = dataset, name
        self.objective, self.variant = objective, variant
        # Examples of several sources have equal ids: their names keep the objective's choices apart.
        self.seed = keys.key(seed, "loader/objective", name) if name else seed
        stored = dataset.manifest.seq_len + dataset.manifest.overlap
        if (wanted := getattr(objective, "raw_length", lambda: stored)()) != stored:
            raise ConfigError(
                f"the objective takes examples of {wanted:,} tokens and those of {dataset.path} hold {stored:,}: make it for this length "
                f"(its `seq_len`), or build a dataset with packing.seq_len: {wanted}"
            )
        self.fields = Fields(dataset.manifest, features, made=() if objective is None else None, across_documents=across_documents)

    def read(self, examples: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64]) -> Arrays:
        """Reads [k] examples and makes the fields of the batch."""
        if self.objective is None:
            return self.fields(self.dataset.stored(examples, self.fields.stored))
        arrays = self.dataset.stored(examples, self.dataset.features)
        made = self._apply(arrays, examples, epochs)
        made.setdefault(schema.EXAMPLE_ID, examples)
        return self.fields({name: values.astype(np.int32) if values.dtype.kind == "u" else values for name, values in made.items()})

    def lay_out(self, examples: npt.NDArray[np.int64]) -> list[Any] | None:
        """Prepares [n, k] reads for `fetch`; None with an objective, beside which the gain is nothing."""
        return self.dataset.lay_out(examples, self.fields.stored) if self.objective is None else None

    def fetch(self, read: Any, rows: int) -> Arrays:
        """As `read`, of k = `rows` examples that were prepared."""
        return self.fields(self.dataset.fetch(read, self.fields.stored, rows))

    def _apply(self, arrays: Arrays, examples: npt.NDArray[np.int64], epochs: npt.NDArray[np.int64]) -> Arrays:
        parts: list[Arrays] = []
        order: list[npt.NDArray[np.int64]] = []
        for epoch in np.unique(epochs).tolist() or [0]:  # one, but for a batch that holds the end of an epoch
            rows = np.flatnonzero(epochs == epoch)
            some = arrays if len(rows) == len(epochs) else {name: values[rows] for name, values in arrays.items()}
            parts.append(self.objective.apply(some, examples[rows], seed=self.seed, variant=self.variant, epoch=epoch))
            order.append(rows)
        if len(parts) == 1:
            return dict(parts[0])
        back = np.argsort(np.concatenate(order), kind="stable")
        return {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}


class _Reader:
    """Reads what was planned."""

    def __init__(self, sources: Sequence[Source], pads: bool = False) -> None:
        self.sources, self._pads = tuple(sources), pads

    def read(self, located: Located) -> Arrays:
        """Reads [k] rows of one or several sources; with several, `source` says which. A row of example -1 is padding."""
        if not self._pads or (real := located.example >= 0).all():
            return self._read(located)
        found = self._read(Located(located.source[real], located.epoch[real], located.example[real]))
        pad_id = self.sources[0].dataset.manifest.pad_id
        fills = {schema.TOKENS: pad_id, INPUTS: pad_id, TARGETS: pad_id, schema.EXAMPLE_ID: -1}
        out = {name: np.full((len(real), *values.shape[1:]), fills.get(name, 0), values.dtype) for name, values in found.items()}
        for name, values in found.items():
            out[name][real] = values
        return out

    def _read(self, located: Located) -> Arrays:
        if len(self.sources) == 1:
            return self.sources[0].read(located.example, located.epoch)
        out: Arrays = {}
        for number in np.unique(located.source).tolist() or [0]:  # a host without rows gets the fields, empty
            rows = np.flatnonzero(located.source == number)
            part = self.sources[number].read(located.example[rows], located.epoch[rows])
            if not out:
                out = {name: np.empty((len(located.source), *values.shape[1:]), values.dtype) for name, values in part.items()}
            for name, values in part.items():
                out[name][rows] = values
        out["source"] = located.source.astype(np.int32)
        return out


class Batches(Iterator[Arrays]):
    """Iterates over the batches of a plan. Made by `Dataset.batches` and `Mixture.batches`.

    The only state is `cursor`: samples delivered so far over all hosts. Batch k of the same plan is the same on every host, whatever came
    before.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        plan: Plan,
        batch_size: int,
        *,
        hosts: int = 1,
        host: int = 0,
        rows: npt.ArrayLike | None = None,
        drop_remainder: bool = True,
        pad_remainder: bool = False,
        prefetch: int = 2,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        if not 0 <= host < hosts:
            raise ConfigError(f"host must lie between 0 and hosts - 1 = {hosts - 1}, got {host}")
        if prefetch < 0:
            raise ConfigError(f"prefetch must be at least 0, got {prefetch}")
        self.sources, self.plan, self.batch_size = tuple(sources), plan, int(batch_size)
        self.hosts, self.host, self.prefetch = hosts, host, prefetch
        self.drop_remainder, self.pad_remainder = drop_remainder and not pad_remainder, pad_remainder
        self._samples_of_rows = batch_rows(self.batch_size, plan.shuffle)
        self._rows: npt.NDArray[np.int64] | None = None
        if rows is not None:
            self._rows = np.asarray(rows, dtype=np.int64).reshape(-1)
            if len(self._rows) and (self._rows.min() < 0 or self._rows.max() >= self.batch_size):
                raise ConfigError(
                    f"rows must lie between 0 and batch_size - 1 = {self.batch_size - 1}, got {self._rows.min()} to {self._rows.max()}"
                )
        self.reader = _Reader(self.sources, pad_remainder)
        self._length = plan.length
        self._cursor = 0
        self._start()

    def _start(self) -> None:
        self._planner = _Planner(self)
        self._producers: list[_Producer] = []  # at most one
        weakref.finalize(self, _stop, self._producers)

    # Position.

    @property
    def cursor(self) -> int:
        """Samples delivered so far, over all hosts."""
        return self._cursor

    @property
    def num_batches(self) -> int | None:
        """Batches from the first sample to the last; None where there is no end."""
        length = self._length
        if length is None:
            return None
        return length // self.batch_size if self.drop_remainder else -(-length // self.batch_size)

    def size_at(self, cursor: int) -> int:
        """Samples in the global batch that begins at a sample; 0 at the end."""
        length = self._length
        if length is None or length - cursor >= self.batch_size:
            return self.batch_size
        left = max(0, length - cursor)
        return 0 if self.drop_remainder else left

    def rows_at(self, cursor: int) -> npt.NDArray[np.int64]:
        """The rows of the global batch at a sample that this host gets."""
        size = self.size_at(cursor)
        if size and self.pad_remainder:
            size = self.batch_size
        if self._rows is not None:
            return self._rows[self._rows < size]
        return np.arange(self.host * size // self.hosts, (self.host + 1) * size // self.hosts)

    def samples_at(self, cursor: int, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """The samples in this host's (or the given) rows of the batch that begins at a sample."""
        rows = self.rows_at(cursor) if rows is None else rows
        full = self.size_at(cursor) == self.batch_size
        return cursor + (self._samples_of_rows[rows] if full else rows)

    # Batches.

    def batch_at(self, cursor: int, rows: npt.ArrayLike | None = None) -> Arrays:
        """Reads the batch that begins at a sample, without moving: a pure function, safe to call from several threads.

        Args:
          cursor: samples delivered before it.
          rows: of the global batch; None for this host's.
        """
        if rows is None:
            return self._planner.batch(cursor)
        return self.reader.read(self.locate(self.samples_at(cursor, np.asarray(rows, dtype=np.int64).reshape(-1))))

    def locate(self, samples: npt.NDArray[np.int64]) -> Located:
        """As `Plan.locate`; with `pad_remainder` samples behind the end are example -1."""
        if not self.pad_remainder or self._length is None or (real := samples < self._length).all():
            return self.plan.locate(samples)
        found = self.plan.locate(samples[real])
        out = Located(*(np.full(len(samples), fill, dtype=np.int64) for fill in (0, 0, -1)))
        for own, values in zip(out, found, strict=True):
            own[real] = values
        return out

    def example_batch(self) -> Arrays:
        """A batch of one row, the first of the run: for the names, dtypes and shapes of the fields.

        Raises:
          ConfigError: the run has no batch at all.
        """
        if not self.size_at(0):
            raise ConfigError(f"this run holds no whole batch of {self.batch_size}: make batches smaller, or give pad_remainder=True")
        return self.batch_at(0, rows=[0])

    def with_rows(self, rows: npt.ArrayLike) -> Batches:
        """Another iterator over the same run, from the same place, that gets exactly these rows of the global batch."""
        other = Batches(
            self.sources,
            self.plan,
            self.batch_size,
            rows=rows,
            drop_remainder=self.drop_remainder,
            pad_remainder=self.pad_remainder,
            prefetch=self.prefetch,
        )
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
                self._producers.append(_Producer(_Planner(self), self._cursor, self.prefetch))
            try:
                batch = self._producers[0].take()
            except BaseException:
                self.close()  # its thread has ended: asking again starts another
                raise
        else:
            batch = self._planner.batch(self._cursor)
        self._cursor += size
        return batch

    def close(self) -> None:
        """Stops the prefetch thread; iteration may go on, and starts another."""
        _stop(self._producers)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_producers", "_planner")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    # State.

    def get_state(self, cursor: int | None = None) -> dict[str, Any]:
        """What a checkpoint keeps, in JSON's types. Only `cursor` changes while a run goes on.

        Args:
          cursor: of another place than this iterator's, for consumers that lag behind it.
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

    def set_state(self, state: Mapping[str, Any], *, allow_changes: bool = False) -> None:
        """Goes on where a run stood; hosts, batch size, features and prefetching may have changed.

        Args:
          state: from `get_state`.
          allow_changes: goes on with other data, another seed, mixture or skipped ranges, from the same place of the stream. What has been
            seen is then no longer what this plan says, unless the change lies ahead: a later stage, or a range to skip.

        Raises:
          ManifestError: the state is of another format, or of a run with another order of examples; says what differs.
        """
        if state.get("format") != STATE_FORMAT:
            raise ManifestError(f"loader state of format {state.get('format')!r}, this version reads {STATE_FORMAT!r}")
        own = self.get_state()
        changed = [name for name in ("order_version", "fingerprint", "seed", "mixture", "skip") if state.get(name) != own[name]]
        if changed and not allow_changes:
            name = changed[0]
            raise ManifestError(
                f"the loader state was saved by a run with {name} {_short(state.get(name))}, this one has {_short(own[name])}: "
                "it would see other examples. Open the same data with the same settings, or accept it with set_state(state, "
                "allow_changes=True)."
            )
        cursor = int(state["cursor"])
        if "skip" in changed:
            skip = [(int(start), int(end)) for start, end in state.get("skip", [])]
            before = Plan(self.plan.names, self.plan.examples, seed=self.plan.seed, stages=self.plan.stages, skip=skip)
            cursor = self.plan.delivered_before(int(before.stream_positions([cursor])[0]))
        length = self._length
        if cursor < 0 or (length is not None and cursor > length):
            raise ManifestError(
                f"the loader state stands at sample {cursor:,}, this run ends at {length:,}. Give it more epochs or a later end."
            )
        self.seek(cursor)

    def seek(self, cursor: int) -> None:
        """Moves to a sample."""
        self.close()
        self._cursor = int(cursor)

    # Tracing.

    def where(self, step: int, *, rows: npt.ArrayLike | None = None, vocabulary: Any = None) -> list[Mapping[str, Any]]:
        """Says what is in a step; see `trace.where`."""
        from tokenreel.loaders import trace

        return trace.where(self, step, rows=rows, vocabulary=vocabulary)

    def when(self, example: int, source: str | int = 0, *, limit: int | None = None) -> list[Mapping[str, int]]:
        """Lists the steps that see an example; see `trace.when`."""
        from tokenreel.loaders import trace

        return trace.when(self, example, source, limit=limit)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


class _Chunk(NamedTuple):
    """Batches that were planned together.

    Attributes:
      batches: how many.
      rows: of each.
      located: what they are, each array [batches, rows].
      reads: for each batch what `Source.fetch` takes; None where batches are read as they are located.
    """

    batches: int
    rows: int
    located: Located
    reads: list[Any] | None


class _Planner:
    """Makes the batches of one consumer one after the other, with their order planned thousands of samples at a time."""

    def __init__(self, batches: Batches) -> None:
        self._batches = weakref.proxy(batches)  # a thread must not keep the iterator alive
        self._reader = batches.reader
        self._batch_size = batches.batch_size
        self._chunks: dict[int, _Chunk] = {}
        nothing = np.zeros((0, 0), dtype=np.int64)
        self._last = 0, _Chunk(0, 0, Located(nothing, nothing, nothing), None)  # found last, with its first sample
        self._lock = threading.RLock()
        self._ahead = _ReadAhead(batches.sources)

    def _plan(self, cursor: int) -> _Chunk:
        """Plans batches from a sample on."""
        batches = self._batches
        samples = batches.samples_at(cursor)
        count, rows = 1, len(samples)
        if batches.size_at(cursor) == self._batch_size:
            count = _PLAN_AHEAD // max(rows, 1)
            if len(batches.sources) > 1:  # there the cost grows with the samples of all hosts
                count = min(count, _MIXED_AHEAD // self._batch_size)
            if batches._length is not None:
                count = min(count, (batches._length - cursor) // self._batch_size)
            count = max(1, count)
            samples = (samples + self._batch_size * np.arange(count)[:, None]).reshape(-1)
        located = Located(*(values.reshape(count, rows) for values in batches.locate(samples)))
        padded = batches.pad_remainder and bool((located.example < 0).any())
        reads = batches.sources[0].lay_out(located.example) if len(batches.sources) == 1 and not padded else None
        return _Chunk(count, rows, located, reads)

    def _find(self, cursor: int) -> tuple[_Chunk, int] | None:
        """The chunk that has the batch at a sample, and its place there; None at the end."""
        start, chunk = self._last
        index, rest = divmod(cursor - start, self._batch_size)
        if rest == 0 and 0 <= index < chunk.batches:
            return chunk, index
        with self._lock:
            for start, chunk in self._chunks.items():
                index, rest = divmod(cursor - start, self._batch_size)
                if rest == 0 and 0 <= index < chunk.batches:
                    self._last = start, chunk
                    return chunk, index
            if not self._batches.size_at(cursor):
                return None
            while len(self._chunks) > 1:
                del self._chunks[next(iter(self._chunks))]
            chunk = self._chunks[cursor] = self._plan(cursor)
            self._last = cursor, chunk
            return chunk, 0

    def _examples(self, cursor: int) -> Located | None:
        if (found := self._find(cursor)) is None:
            return None
        chunk, index = found
        return Located(*(values[index] for values in chunk.located))

    def batch(self, cursor: int) -> Arrays:
        """The batch at a sample.

        Raises:
          IndexError: the run has ended there.
        """
        if (found := self._find(cursor)) is None:
            raise IndexError(f"this run ends before sample {cursor:,}")
        self._ahead.before_reading(self._examples, cursor, self._batch_size)
        chunk, index = found
        if chunk.reads is not None:
            return self._reader.sources[0].fetch(chunk.reads[index], chunk.rows)
        return self._reader.read(Located(*(values[index] for values in chunk.located)))


class _ReadAhead:
    """Asks for the pages of batches to come, exactly, while reading waits for the disk, and not while all is in memory.

    Random reads of a cold file take a twentieth of the time so. But asking costs as much as half a warm gather, so it is done only as long
    as reading without it has to wait.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._remote = any(source.dataset.records.remote for source in sources)
        self._active = self._remote  # there every read waits
        self._asked = False
        self._count = 0
        self._waits: int | None = None

    def before_reading(self, examples: Callable[[int], Located | None], cursor: int, batch_size: int) -> None:
        """Is called before each batch; `examples` says what is in the batch at a sample."""
        self._count += 1
        if not self._active:
            if self._count % _LOOK_EVERY == 0:
                waits = _waits()
                self._active, self._waits = self._waits is not None and waits > self._waits, waits
            elif self._waits is None:
                self._waits = _waits()
        if not self._active:
            return
        for distance in range(1, _READ_AHEAD + 1) if not self._asked else (_READ_AHEAD,):
            if (ahead := examples(cursor + distance * batch_size)) is not None:
                self._will_need(ahead)
        self._asked = True
        if not self._remote and self._count % _PROBE_EVERY == 0:
            self._active = self._asked = False  # the next ones show whether reading waits without
            self._waits = None

    def _will_need(self, located: Located) -> None:
        if located.example.min(initial=0) < 0:
            return  # the last batch, padded
        if len(self._sources) == 1:
            self._sources[0].dataset.records.will_need(located.example)
            return
        for number, source in enumerate(self._sources):
            rows = located.example[located.source == number]
            if len(rows):
                source.dataset.records.will_need(rows)


def _stop(producers: list[_Producer]) -> None:
    while producers:
        producers.pop().stop()


def _waits() -> int:
    """Counts what this thread has waited for the disk: page faults of maps, blocks of reads."""
    usage = resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF))
    return usage.ru_majflt + usage.ru_inblock


class _Producer:
    """One thread that makes batches ahead of their consumer."""

    def __init__(self, planner: _Planner, cursor: int, ahead: int) -> None:
        self._queue: queue.Queue[Arrays | BaseException] = queue.Queue(maxsize=ahead)
        self._stopped = threading.Event()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, args=(planner, cursor), name="tokenreel-prefetch", daemon=True)
        self._thread.start()

    def _run(self, planner: _Planner, cursor: int) -> None:
        try:
            while not self._stopped.is_set() and (size := planner._batches.size_at(cursor)):
                self._put(planner.batch(cursor))
                cursor += size
        except ReferenceError:
            pass  # the iterator is gone
        except BaseException as error:
            self._put(error)

    def _put(self, item: Arrays | BaseException) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def is_of_this_process(self) -> bool:
        """Whether the thread can be there."""
        return self._process == os.getpid()

    def take(self) -> Arrays:
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Ends the thread; batches it made are dropped."""
        self._stopped.set()
