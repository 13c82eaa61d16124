"""Batches made before they are asked for: planned in bulk, their pages asked for ahead, and read by one thread."""

from __future__ import annotations

import atexit
import os
import queue
import resource
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tokenreel.errors import StorageError
from tokenreel.loaders import forks
from tokenreel.loaders.fields import Arrays
from tokenreel.loaders.order.plan import Located
from tokenreel.loaders.reader import Source
from tokenreel.loaders.run import Run

_PLAN_AHEAD = 4096  # samples planned at once: below a thousand, overhead dominates
_PLAN_FIRST = 256  # the same where nothing was planned just before, quadrupled from chunk to chunk: a batch read alone costs little
_MIXED_AHEAD = 8192  # the same for mixtures, in samples of all hosts
_READ_AHEAD = 4  # batches whose pages are asked for before they are read
_PROBE_EVERY = 256  # batches of read-ahead after which reading goes without, to see whether it still waits
_LOOK_SECONDS = 5.0  # between two looks whether the thread that is waited for is still there
_END_SECONDS = 2.0  # that the interpreter's end waits for a thread
_LOOK_EVERY = 4  # batches without read-ahead between two looks


class _Chunk(NamedTuple):
    """Batches that were planned together.

    Attributes:
      batches: how many.
      rows: how many each has on this host.
      located: what the rows are, int64 [batches, rows] in each of its arrays.
      reads: for each batch what `Source.fetch` takes; None where batches are read as they are located.
    """

    batches: int
    rows: int
    located: Located
    reads: list[Any] | None


class Planner:
    """Makes the batches of one consumer one after the other, with their order planned thousands of samples at a time.

    Below a thousand samples the overhead of planning dominates, so the order is worked out for chunks of batches and then looked up. Two
    chunks are kept: the one being read, and the next, whose pages are asked for. Several threads may ask for batches; one plans at a time.

    Args:
      run: whose batches they are; held weakly.
    """

    def __init__(self, run: Run) -> None:
        self.run: Run = weakref.proxy(run)  # the run is the iterator itself, which a thread must not keep alive
        self._reader = run.reader
        self._batch_size = run.batch_size
        self._chunks: dict[int, _Chunk] = {}
        nothing = np.zeros((0, 0), dtype=np.int64)
        # The chunk found last and its first sample, as one object: threads read and replace it without the lock.
        self._last = 0, _Chunk(0, 0, Located(nothing, nothing, nothing), None)
        self._planned = _PLAN_FIRST, -1  # samples of the chunk made last, and the sample behind it
        self._ahead = _ReadAhead(run.sources)
        self.after_fork()
        forks.renew_in_children(self)

    def after_fork(self) -> None:
        """Makes a lock that nobody holds. What was planned stays: it is replaced as a whole."""
        self._lock = threading.Lock()

    def _plan(self, cursor: int, ahead: int) -> _Chunk:
        """Plans about `ahead` samples of this host, in whole batches, from the sample `cursor` on."""
        run = self.run
        samples = run.samples_at(cursor)
        count, rows = 1, len(samples)  # a short last batch is a chunk of its own: its rows differ
        if run.size_at(cursor) == self._batch_size:
            count = ahead // max(rows, 1)
            if len(run.sources) > 1:  # there the cost grows with the samples of all hosts
                count = min(count, _MIXED_AHEAD // self._batch_size)
            if run.length is not None:
                count = min(count, (run.length - cursor) // self._batch_size)
            count = max(1, count)
            samples = (samples + self._batch_size * np.arange(count)[:, None]).reshape(-1)
        located = Located(*(values.reshape(count, rows) for values in run.locate(samples)))
        # Rows of padding have no record to be read from, so they are left to the reader, as is a mixture's sorting by source.
        padded = run.pad_remainder and bool((located.example < 0).any())
        reads = run.sources[0].plan_reads(located.example) if len(run.sources) == 1 and not padded else None
        return _Chunk(count, rows, located, reads)

    def _find(self, cursor: int) -> tuple[_Chunk, int] | None:
        """Finds the chunk that has the batch at a sample, and the batch's place there; plans it if need be. None at the end."""
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
            if not self.run.size_at(cursor):
                return None
            while len(self._chunks) > 1:  # the dict is in order of making: the oldest goes
                del self._chunks[next(iter(self._chunks))]
            ahead, end = self._planned
            ahead = min(4 * ahead, _PLAN_AHEAD) if cursor == end else _PLAN_FIRST  # more only where reading goes straight on
            chunk = self._chunks[cursor] = self._plan(cursor, ahead)
            self._planned = ahead, cursor + chunk.batches * self._batch_size
            self._last = cursor, chunk
            return chunk, 0

    def _examples(self, cursor: int) -> Located | None:
        """Says what is in this host's rows of the batch at a sample; None at the end."""
        if (found := self._find(cursor)) is None:
            return None
        chunk, index = found
        return Located(*(values[index] for values in chunk.located))

    def batch(self, cursor: int) -> Arrays:
        """Makes this host's rows of the batch that begins at a sample.

        Raises:
          IndexError: the run has ended there.
          ManifestError: a record is not what was written.
        """
        if (found := self._find(cursor)) is None:
            raise IndexError(f"this run ends before sample {cursor:,}")
        self._ahead.before_reading(self._examples, cursor, self._batch_size)
        chunk, index = found
        if chunk.reads is not None:
            batch = self._reader.sources[0].fetch(chunk.reads[index], chunk.rows)
        else:
            batch = self._reader.read(Located(*(values[index] for values in chunk.located)))
        return self.run.complete(batch, cursor, chunk.rows)


class _ReadAhead:
    """Asks for the pages of batches to come, exactly, while reading waits for the disk, and not while all is in memory.

    Random reads of a cold file take a twentieth of the time so. But asking costs as much as half a warm gather, so it is done only as long
    as reading without it has to wait.

    It changes between three states: looking (count the waits of every fourth batch; more than at the last look means on), on (ask for the
    pages of the batch four ahead), and, every 256 batches, looking again with read-ahead off. Reads from a bucket are always on.

    Args:
      sources: the datasets that are read.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._remote = any(source.dataset.records.remote for source in sources)
        self._active = self._remote  # there every read waits
        self._asked = False  # whether the batches up to the one four ahead were asked for
        self._count = 0  # batches so far
        self._waits: int | None = None  # what this thread had waited at the last look; None before the first

    def before_reading(self, examples: Callable[[int], Located | None], cursor: int, batch_size: int) -> None:
        """Is called before each batch is read, and asks for the pages of later ones while that pays.

        Args:
          examples: says what is in the batch at a sample; None at the end.
          cursor: the sample at which the batch to be read begins.
          batch_size: samples of a batch, over all hosts.
        """
        self._count += 1
        if not self._active:
            if self._count % _LOOK_EVERY == 0:
                waits = _waits()
                self._active, self._waits = self._waits is not None and waits > self._waits, waits
            elif self._waits is None:
                self._waits = _waits()
        if not self._active:
            return
        # The first time all four batches ahead are asked for, then each time the farthest: the nearer ones were.
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


def stop(producers: list[Producer]) -> None:
    """Stops the producers and takes them out of the list; a module-level function, so that a finalizer holds no iterator."""
    while producers:
        producers.pop().stop()


def _waits() -> int:
    """Counts what this thread has waited for the disk: page faults of maps, blocks of reads."""
    # Where the system counts by process only, other threads' waits may keep read-ahead on: slower, not wrong.
    usage = resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF))
    return usage.ru_majflt + usage.ru_inblock


class Producer:
    """One thread that makes batches ahead of their consumer, until the run ends or `stop` is called.

    Args:
      planner: makes the batches.
      cursor: the sample at which the first begins.
      ahead: batches that may wait to be taken, beside the one being made.
    """

    def __init__(self, planner: Planner, cursor: int, ahead: int) -> None:
        self._queue: queue.Queue[Arrays | BaseException] = queue.Queue(maxsize=ahead)
        self._stopped = threading.Event()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._produce, args=(planner, cursor), name="tokenreel-prefetch", daemon=True)
        self._thread.start()
        _PRODUCERS.add(self)

    def _produce(self, planner: Planner, cursor: int) -> None:
        try:
            while not self._stopped.is_set() and (size := planner.run.size_at(cursor)):
                self._put(planner.batch(cursor))
                cursor += size
        except ReferenceError:
            pass  # the iterator is gone
        except BaseException as error:  # whatever it is, it belongs to the consumer, who would wait for ever
            self._put(error)

    def _put(self, item: Arrays | BaseException) -> None:
        # With a time-out, because nobody takes from the queue of a consumer that has stopped.
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def is_of_this_process(self) -> bool:
        """Says whether this is the process that started the thread; a fork copies only the object."""
        return self._process == os.getpid()

    def take(self) -> Arrays:
        """Gives the next batch, and waits for it if need be.

        Raises:
          BaseException: what making the batch raised.
          StorageError: the thread is gone.
        """
        while True:
            try:
                item = self._queue.get(timeout=_LOOK_SECONDS)
                break
            except queue.Empty:
                # Whatever the thread waits for has an end of its own; it may only be gone, as at the end of the interpreter.
                if not self._thread.is_alive() and self._queue.empty():
                    raise StorageError(
                        "the thread that makes batches ahead has ended before this batch; make the batches again, or give prefetch=0"
                    ) from None
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """Ends the thread; batches it made are dropped."""
        if self.is_of_this_process():  # elsewhere there is no thread, and the event may have been copied locked
            self._stopped.set()

    def end(self) -> None:
        """Stops the thread and waits for it, some seconds at the most: what it waits for may be a network that is down."""
        self.stop()
        if self.is_of_this_process():
            self._thread.join(_END_SECONDS)


def _end_all() -> None:
    for producer in list(_PRODUCERS):
        producer.end()


# A thread that the interpreter's end meets in the midst of a batch is unwound there, and NumPy's C++ then aborts the process.
_PRODUCERS: weakref.WeakSet[Producer] = weakref.WeakSet()
atexit.register(_end_all)
