"""The batches of a stream as the adapters of `loaders` take them: JAX, Torch, Keras, Grain and tf.data."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders.batches import Batches, whole_cursor
from tokenreel.loaders.conversion import Conversion
from tokenreel.loaders.fields import CURSOR, OF_BATCH, Arrays
from tokenreel.loaders.run_options import RunOptions
from tokenreel.tasks.stream_nodes import Cursor, Keyed, Node, State
from tokenreel.tasks.stream_steps import stack
from tokenreel.wording import brief

STATE_FORMAT = "tokenreel-stream-batches-1"
_PLACES_KEPT = 64  # of the last batches: consumers that lag behind ask for a state of theirs


class StreamBatches(Batches):
    """Iterates over the batches of a stream of rows, and reads any of them for an adapter. Made by `ExampleStream.batches`.

    Batches in order are read once. One that lies before or far behind is found by the stream's own states where it was passed before, and
    by reading on, or again from the first row, where not. A stream that ends, but does not say how many rows it has (packed ones), is
    walked once to count them.

    Args:
      node: gives the rows, all of one shape.
      options: its `shuffle`, `seed`, `epochs`, `skip`, `objective` and `variant` have no meaning here: the stream has its order.

    Raises:
      ConfigError: the stream holds no whole batch, or a field is asked for that it does not give.
    """

    def __init__(self, node: Node, options: RunOptions) -> None:
        if options.pad_remainder or any(name in OF_BATCH for name in options.features or ()):
            raise ConfigError(f"the batches of a stream have neither pad_remainder nor {' and '.join(OF_BATCH)}: leave them out")
        self.node, self.options = node, options
        self.batch_size, self.hosts, self.host = int(options.batch_size), options.hosts, options.host
        self.prefetch, self.drop_remainder, self.pad_remainder = options.prefetch, options.drop_remainder, False
        self._rows, self._convert = options.row_numbers(), Conversion(options.rename, options.dtypes)
        self.length = None if node.is_endless() else _count(node)
        self.plan = _Rows(self.length)  # type: ignore[assignment]
        self._cursor, self._placed = 0, True
        self._digest = keys.digest(*node.describe())
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._walk: tuple[int, Cursor] | None = None  # the row that it gives next, and the walk
        self._places: OrderedDict[int, State] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_walk", "_places")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __next__(self) -> Arrays:
        size = self.size_at(self._cursor)
        if not size:
            raise StopIteration
        batch = self.batch_at(self._cursor)
        self._cursor, self._placed = self._cursor + size, False
        return batch

    def batch_at(self, cursor: int, rows: npt.ArrayLike | None = None) -> Arrays:
        """Reads the batch that begins at a row, without moving; safe to call from several threads.

        Args:
          cursor: rows before it.
          rows: int [k] rows of the global batch to give; None for this host's.

        Raises:
          IndexError: the stream has ended there.
        """
        size = self.size_at(cursor)
        if not size:
            raise IndexError(f"this stream ends before row {cursor:,}")
        with self._lock:
            elements = self._read(cursor, size)
        chosen = self.rows_at(cursor) if rows is None else np.asarray(rows, dtype=np.int64).reshape(-1)
        first = stack([elements[row].value for row in chosen.tolist()] or [elements[0].value])
        batch = {name: values[: len(chosen)] for name, values in first.items()}
        wanted = self.options.features
        if wanted is not None:
            if missing := [name for name in wanted if name not in batch and name != CURSOR]:
                raise ConfigError(f"the stream has no field {missing[0]!r}; its fields are {', '.join(batch)}")
            batch = {name: batch[name] for name in wanted if name != CURSOR}
        if self.options.has_cursor:
            batch[CURSOR] = np.full(len(chosen), cursor + size, dtype=np.int64)
        return self._convert(batch)

    def _read(self, cursor: int, size: int) -> Sequence[Keyed]:
        """Reads the rows from one on."""
        at, walk = self._walk or (-1, None)
        self._walk = None  # where a read fails, the walk stands elsewhere than at that row
        if walk is None or at != cursor:
            before = max((place for place in self._places if place <= cursor), default=0)
            if walk is None or at > cursor or before > at:
                walk, at = self.node.open(0), before
                if before in self._places:
                    walk.set_state(self._places[before])
            next(itertools.islice(walk, cursor - at, cursor - at), None)
        self._remember(cursor, walk.get_state())
        elements = list(itertools.islice(walk, size))
        self._walk = cursor + len(elements), walk
        if len(elements) < size:
            raise IndexError(f"this stream ended at row {cursor + len(elements):,}, and row {cursor + size:,} was expected")
        return elements

    def _remember(self, cursor: int, place: State) -> None:
        self._places[cursor] = place
        self._places.move_to_end(cursor)
        while len(self._places) > _PLACES_KEPT:
            self._places.popitem(last=False)

    def with_rows(self, rows: npt.ArrayLike) -> StreamBatches:
        """Makes another iterator over the same stream, from the same place, that gets exactly the int [k] rows given of each batch."""
        other = StreamBatches.__new__(StreamBatches)
        other.__setstate__({**self.__getstate__(), "_rows": np.asarray(rows, dtype=np.int64).reshape(-1)})
        other._places.update(self._places)
        return other

    # State.

    def get_state(self, cursor: int | None = None) -> dict[str, Any]:
        """Gives what a checkpoint keeps, in JSON's types.

        Args:
          cursor: of another place than this iterator's, for consumers that lag behind it. The state of one that is not among the last
            batches, or was never passed, holds the number of rows alone, and is restored by reading them again.
        """
        at = self._cursor if cursor is None else int(cursor)
        with self._lock:
            place = self._places.get(at)
            if place is None and self._walk is not None and self._walk[0] == at:
                place = self._walk[1].get_state()
        return {"cursor": at, "format": STATE_FORMAT, "steps": self._digest, "place": place}

    def cursor_of(self, state: Mapping[str, Any], *, allow_changes: bool = False) -> int:
        """Gives the row at which a state stands, without moving there; batch size, rows and features may have changed.

        Raises:
          ManifestError: the state is of another format, malformed, or of a stream with other steps.
        """
        if state.get("format") != STATE_FORMAT:
            raise ManifestError(f"loader state of format {brief(state.get('format'))}, this stream reads {STATE_FORMAT!r}")
        same = state.get("steps") == self._digest
        if not same and not allow_changes:
            raise ManifestError(
                f"the loader state was saved by a stream with other steps than {' | '.join(self.node.describe())}: it would see other "
                "examples. Make the same stream, or accept it with set_state(state, allow_changes=True)."
            )
        cursor = whole_cursor(state)
        if same and state.get("place") is not None:
            with self._lock:
                self._remember(cursor, state["place"])
        return cursor

    def close(self) -> None:
        """Does nothing: no thread reads ahead."""

    def where(self, step: int, *, rows: npt.ArrayLike | None = None, vocabulary: Any = None) -> list[Mapping[str, Any]]:
        """Is not known of a stream.

        Raises:
          ConfigError: always.
        """
        raise ConfigError("a stream does not tell where its rows come from: build a dataset of the task, and ask that")

    def when(self, example: int, source: str | int = 0, *, limit: int | None = None) -> list[Mapping[str, int]]:
        """Is not known of a stream.

        Raises:
          ConfigError: always.
        """
        raise ConfigError("a stream does not tell when an example comes: build a dataset of the task, and ask that")


class _Rows:
    """What adapters ask of the plan of a run: how long it is."""

    def __init__(self, length: int | None) -> None:
        self.length = length

    def __len__(self) -> int:
        assert self.length is not None
        return self.length


def _count(node: Node) -> int:
    length = node.length()
    return sum(1 for _ in node.open(0)) if length is None else length
