"""Datasets and batches for Torch. `Dataset` is a map-style dataset of NumPy arrays already; these give tensors and exact order.

`TorchExamples`, `TorchBatches` and `StatefulTorchBatches` are made when they are first asked for, so that importing this module does not
import Torch.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenreel.errors import ConfigError
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.conversion import ConvertedExamples


def tensors(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Wraps arrays as tensors, without a copy."""
    import torch

    return {name: torch.from_numpy(values) if values.ndim else torch.tensor(values) for name, values in arrays.items()}


def _examples_class() -> Any:
    import torch.utils.data

    class TorchExamples(ConvertedExamples, torch.utils.data.Dataset):  # type: ignore[misc]
        """Map-style: example i as a dict of tensors, for samplers of one's own. Arguments and errors are those of `ConvertedExamples`."""

        def _batch(self, examples: Sequence[int]) -> dict[str, Any]:
            return tensors(super()._batch(examples))

    return TorchExamples


def _loader_class(base: Any) -> Any:
    """Makes the loader of a run from a class of loaders: Torch's, or one that is derived from it."""

    class TorchBatches(base):  # type: ignore[misc]
        """A `DataLoader` of whole batches as dicts of tensors, in the exact order of the run, for any number of workers.

        The numbers of the batches are drawn in this process and workers only read what they are told, so it does not matter how many there
        are, whether they persist, and how far they read ahead. One prefetch thread keeps up with most trainers: `num_workers=0` is right
        unless an objective is slow.

        A run without end goes on, in each iteration, behind the batch that this object handed out last. A run that ends begins anew, but
        in the first iteration goes on where `batches` stands, as it does after `batches.set_state`. So `batches.get_state()` is the state
        after the batch handed out last. A trainer that fetches ahead of what it trains on takes `batches.state_after(batch)` instead.

        `len()` counts the batches of a whole pass; a run without end has none. Each process gets its own rows: make the run with `hosts`
        and `host`, and let no trainer divide them again (`accelerator.prepare` gives this object back as it is).

        Args:
          batches: of the run; for this object alone.
          collate_fn: applied to each batch where it is read, in the worker.
          **options: any others of the class of loaders, such as `num_workers`, `persistent_workers` and `pin_memory`.

        Raises:
          ConfigError: an option says which batches there are, or in which order they come.
        """

        # accelerate's own mark; otherwise it takes the loader apart, and gives each process a part of a part.
        _is_accelerate_prepared = True

        def __init__(self, batches: Batches, *, collate_fn: Callable[[dict[str, Any]], Any] | None = None, **options: Any) -> None:
            for name in _OWN_OPTIONS & options.keys():
                raise ConfigError(
                    f"{name} was given to the batches of a run, whose order and share of rows are fixed: make the run with hosts=..., "
                    "host=..., and let the trainer add no sampler of its own (Lightning: Trainer(use_distributed_sampler=False))"
                )
            if not options.get("in_order", True):
                raise ConfigError("in_order=False would hand out batches that the state does not count: leave it out")
            batches.seek(batches.cursor)  # the first pass begins there
            self._draws = _Draws(batches)
            super().__init__(_Reads(batches), batch_size=None, sampler=self._draws, collate_fn=_Collate(collate_fn), **options)
            self.batches = batches

        def __iter__(self) -> Iterator[Any]:
            with self._draws.opened():
                found = super().__iter__()
            return _Deliveries(found, self.batches)

        def __getitem__(self, index: Any) -> Any:
            raise ConfigError("TorchBatches is a DataLoader itself: iterate over it, and put no other around it")

    return TorchBatches


def _batches_class() -> Any:
    import torch.utils.data

    return _loader_class(torch.utils.data.DataLoader)


def _stateful_batches_class() -> Any:
    import torchdata.stateful_dataloader

    class StatefulTorchBatches(_loader_class(torchdata.stateful_dataloader.StatefulDataLoader)):  # type: ignore[misc]
        """`TorchBatches` as a `StatefulDataLoader` of torchdata: `state_dict()` is the state after the batch handed out last.

        torchdata's states are for the same number of workers; for another, resume by `batches.set_state`. A trainer that fetches ahead
        needs `batches.state_after(batch)`.
        """

        use_stateful_dataloader = True  # accelerate's mark: its save_state and load_state keep the state of such loaders
        _iterator: Any
        next_iter_state: Any

        def state_dict(self) -> dict[str, Any]:
            """Gives the state of the loader after the batch that it handed out last."""
            asked_early, to_load = self._iterator is None, self.next_iter_state
            with self._draws.opened():  # torchdata makes an iterator to ask where there is none
                state: dict[str, Any] = super().state_dict()
            if asked_early:  # and would keep it, wherever `batches` is moved to before the first iteration
                self._iterator, self._initial_iter_for_state_dict, self.next_iter_state = None, False, to_load
            return state

    return StatefulTorchBatches


_OWN_OPTIONS = {"dataset", "sampler", "batch_sampler", "batch_size", "shuffle", "drop_last"}


class _Draws:
    """The sampler of a run, in the process of the trainer: draws the samples at which batches begin.

    It draws for a `TorchBatches` alone, which tells the run what was delivered. A loader made from its parts would lose what workers have
    read ahead.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches, self._open = batches, False

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Lets iterators be made, for as long as the context lasts."""
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def __iter__(self) -> _Drawing:
        if not self._open:
            raise ConfigError(
                "the loader of a run was taken apart, as trainers do to divide the rows among processes: give each process the rows it "
                "should get (hosts=..., host=...), and let the trainer use the loader as it is"
            )
        return _Drawing(self._batches)

    def __len__(self) -> int:
        if (count := self._batches.num_batches) is None:
            raise TypeError("a run without end has no length: give it epochs, or the trainer a number of steps")
        return count


class _Drawing:
    """One pass of `_Draws`. Its states are those that torchdata keeps for each batch drawn, and gives for the one delivered."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._cursor = batches.pass_start
        self._state: dict[str, Any] | None = None

    def __iter__(self) -> _Drawing:
        return self

    def __next__(self) -> int:
        cursor = self._cursor
        if (size := self._batches.size_at(cursor)) == 0:
            raise StopIteration
        self._cursor += size
        return cursor

    def state_dict(self) -> dict[str, Any]:
        if self._state is None:
            self._state = self._batches.get_state()  # all but the cursor is the same for ever, and this is asked for each batch
        return {**self._state, "cursor": self._cursor}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._cursor = self._batches.cursor_of(state)
        self._batches.mark_delivered(self._cursor)


class _Reads:
    """The map-style dataset of a run: `[cursor]` reads the batch that begins at a sample. Holds no position.

    An item is (the sample behind the batch, {field: tensor}).
    """

    def __init__(self, batches: Batches) -> None:
        # A copy, whose thread reads ahead of what `batches` has delivered. In a worker it is another copy yet, which has no thread to lose.
        self._batches = copy.copy(batches)

    def __getitem__(self, cursor: int) -> tuple[int, dict[str, Any]]:
        import torch.utils.data

        batches = self._batches
        worker = torch.utils.data.get_worker_info()
        if worker is not None and worker.num_workers > 1:  # this one gets every n-th batch
            return cursor + batches.size_at(cursor), tensors(batches.batch_at(cursor))
        if batches.cursor != cursor:
            batches.seek(cursor)
        return cursor + batches.size_at(cursor), tensors(next(batches))


class _Collate:
    """Applies the trainer's own function to the batch of an item of `_Reads`."""

    def __init__(self, function: Callable[[dict[str, Any]], Any] | None) -> None:
        self._function = function

    def __call__(self, item: tuple[int, dict[str, Any]]) -> tuple[int, Any]:
        cursor, batch = item
        return cursor, batch if self._function is None else self._function(batch)


class _Deliveries:
    """Hands out batches, and tells the run which."""

    def __init__(self, items: Iterator[tuple[int, Any]], batches: Batches) -> None:
        self._items, self._batches = items, batches

    def __iter__(self) -> _Deliveries:
        return self

    def __next__(self) -> Any:
        try:
            cursor, batch = next(self._items)
        except StopIteration:
            self._batches.mark_delivered(self._batches.cursor)  # a pass that was empty counts as one, too
            raise
        self._batches.mark_delivered(cursor)
        return batch


_MAKERS = {"TorchExamples": _examples_class, "TorchBatches": _batches_class, "StatefulTorchBatches": _stateful_batches_class}

if TYPE_CHECKING:
    TorchExamples: Any
    TorchBatches: Any
    StatefulTorchBatches: Any


def __getattr__(name: str) -> Any:
    if name not in _MAKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = _MAKERS[name]()
    made.__qualname__ = name  # found again by its name here, in the processes it is pickled to
    globals()[name] = made
    return made
