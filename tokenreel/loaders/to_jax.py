"""Batches as global JAX arrays, on any mesh.

Which rows a process must read is asked of the sharding itself. Its own number (`process_index`) does not tell: where a mesh interleaves the
devices of several processes, "process i loads slice i" puts wrong rows in place, without an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.fields import Arrays


class JaxBatches(Iterator[dict[str, Any]]):
    """Iterates over global batches; every process reads the rows its devices hold, and no others.

    Args:
      batches: of the run; its `hosts`, `host` and `rows` do not matter.
      sharding: of every field, a `jax.sharding.Sharding` whose first axis is the batch, or one for each field by name.
      ahead: batches whose transfer to the devices is under way while one is computed on.

    Raises:
      ConfigError: the last batch could be short, which a sharding cannot place; or a field has no axis of rows (`cu_seqlens`).

    A process whose devices hold the same rows as another's (tensor parallelism across hosts) reads the same rows. Integers wider than JAX's
    default are narrowed if every value fits.
    """

    def __init__(self, batches: Batches, sharding: Any, *, ahead: int = 2) -> None:
        if not (batches.drop_remainder or batches.pad_remainder):
            raise ConfigError("a short last batch does not fit a sharding: make the batches with drop_remainder=True or pad_remainder=True")
        if ahead < 1:
            raise ConfigError(f"ahead must be at least 1, got {ahead}")
        batches.options.check_whole_batches("JAX", "a sharding")
        self._sharding = sharding
        self._ahead = ahead
        self.batch_size = batches.batch_size
        sample = batches.example_batch()  # fields may have shardings of their own, so all shapes are needed beforehand
        self._places = {name: _Place(self._sharding_of(name), (self.batch_size, *values.shape[1:])) for name, values in sample.items()}
        # Fields that are sharded otherwise hold other rows: each is read once, and each field takes its own.
        wanted = [place.rows for place in self._places.values()]
        self.rows: npt.NDArray[np.int64] = np.unique(np.concatenate(wanted)) if wanted else np.zeros(0, dtype=np.int64)
        self._batches = batches.with_rows(self.rows)
        self._pending: deque[dict[str, Any]] = deque()
        self._cursor = batches.cursor

    def _sharding_of(self, name: str) -> Any:
        if not isinstance(self._sharding, Mapping):
            return self._sharding
        if name not in self._sharding:
            raise ConfigError(f"no sharding for field {name!r}; there are shardings for {', '.join(self._sharding)}")
        return self._sharding[name]

    def __next__(self) -> dict[str, Any]:
        while len(self._pending) < self._ahead:
            try:
                local = next(self._batches)
            except StopIteration:
                break
            self._pending.append(self._place(local))
        if not self._pending:
            raise StopIteration
        # The iterator behind is `ahead` batches further; a checkpoint must say where the consumer is.
        self._cursor += self._batches.size_at(self._cursor)
        return self._pending.popleft()

    def _place(self, local: Arrays) -> dict[str, Any]:
        return {name: self._places[name].put(values, self.rows) for name, values in local.items()}

    def get_state(self) -> dict[str, Any]:
        """Gives what `Batches.get_state` does, for where the consumer is: batches under way to the devices count as not delivered."""
        return self._batches.get_state(self._cursor)

    def set_state(self, state: Mapping[str, Any], *, allow_changes: bool = False) -> None:
        """Does what `Batches.set_state` does, and forgets the batches under way."""
        self._batches.set_state(state, allow_changes=allow_changes)
        self._pending.clear()
        self._cursor = self._batches.cursor


class _Place:
    """Where the rows of one field go: which devices of this process hold which of them.

    Attributes:
      rows: int64 [k] rows of the global batch that this process holds, sorted.
    """

    def __init__(self, sharding: Any, shape: tuple[int, ...]) -> None:
        if len(shape) == 1:
            sharding = _of_scalars(sharding)
        self.sharding, self.shape = sharding, shape
        self.devices: list[Any] = []
        self.indices: list[tuple[slice, ...]] = []
        for device, index in sharding.addressable_devices_indices_map(shape).items():
            self.devices.append(device)
            self.indices.append(index)
        parts = [np.arange(shape[0], dtype=np.int64)[index[0]] for index in self.indices]
        self.rows = np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
        self._first = [int(part[0]) if len(part) else 0 for part in parts]
        self._count = [len(part) for part in parts]

    def put(self, local: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> Any:
        """Puts this process's rows of a field on its devices: `local` [k, ...] are the global rows `rows` [k], sorted."""
        import jax

        values = _canonical(local)
        # `rows` is sorted and a device's rows are contiguous, so they lie side by side in `local` as well.
        starts = np.searchsorted(rows, self._first)
        parts = [
            values[(slice(int(start), int(start) + count), *index[1:])]
            for start, count, index in zip(starts, self._count, self.indices, strict=True)
        ]
        arrays = [jax.device_put(part, device) for part, device in zip(parts, self.devices, strict=True)]
        return jax.make_array_from_single_device_arrays(self.shape, self.sharding, arrays)


def _of_scalars(sharding: Any) -> Any:
    """Gives the sharding of a field without axes beside the batch: later axes of the partition do not concern it."""
    import jax

    if isinstance(sharding, jax.sharding.NamedSharding) and len(sharding.spec) > 1:
        return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(sharding.spec[0]))
    return sharding


def _canonical(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Narrows 64-bit integers, where JAX would do so silently and wrap them around."""
    import jax

    if values.dtype != np.int64 or jax.config.jax_enable_x64:
        return values
    limits = np.iinfo(np.int32)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise ConfigError(f"values up to {values.max():,} do not fit JAX's int32: set jax_enable_x64, or leave the field out of `features`")
    return values.astype(np.int32)
