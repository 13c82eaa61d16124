"""Datasets and batches for Torch. `Dataset` is a map-style dataset of NumPy arrays already; these give tensors and exact order.

`TorchExamples` and `TorchBatches` are made when they are first asked for, so that importing this module does not import Torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenreel.loaders.batches import Batches
from tokenreel.loaders.dataset import Dataset


def tensors(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Wraps arrays as tensors, without a copy."""
    import torch

    return {name: torch.from_numpy(values) if values.ndim else torch.tensor(values) for name, values in arrays.items()}


def _examples_class() -> Any:
    import torch.utils.data

    class TorchExamples(torch.utils.data.Dataset):  # type: ignore[misc]
        """Map-style: example i as a dict of tensors, for samplers of one's own.

        Args:
          dataset: an opened split.
          features: as in `Dataset.take`.
        """

        def __init__(self, dataset: Dataset, features: Sequence[str] | None = None) -> None:
            self.dataset, self.features = dataset, features

        def __len__(self) -> int:
            return len(self.dataset)

        def __getitem__(self, example: int) -> dict[str, Any]:
            return self.__getitems__([example])[0]

        def __getitems__(self, examples: Sequence[int]) -> list[dict[str, Any]]:
            batch = tensors(self.dataset.take(examples, self.features))
            return [{name: values[row] for name, values in batch.items()} for row in range(len(examples))]

    return TorchExamples


def _batches_class() -> Any:
    import torch.utils.data

    class TorchBatches(torch.utils.data.IterableDataset):  # type: ignore[misc]
        """Iterable: whole batches as dicts of tensors, in the exact order of the run; give it to `DataLoader(..., batch_size=None)`.

        One prefetch thread keeps up with any trainer, so `num_workers=0` is right; with n workers, worker w makes the batches w, w + n,
        ..., which the DataLoader puts together in order.

        Each iteration begins where the run stands: at first where `batches` stood, later where the last iteration was left. `state_dict`
        and `load_state_dict` are those of a checkpoint. In worker processes only their own copies move: there, after k steps, save
        `state_dict(steps=k)`.

        Args:
          batches: of the run.
        """

        def __init__(self, batches: Batches) -> None:
            self.batches = batches

        def __iter__(self) -> Iterator[dict[str, Any]]:
            info = torch.utils.data.get_worker_info()
            if info is None or info.num_workers == 1:
                return map(tensors, self.batches)
            return self._share(info.id, info.num_workers)

        def _share(self, worker: int, workers: int) -> Iterator[dict[str, Any]]:
            batches = self.batches
            cursor = batches.cursor + worker * batches.batch_size
            while batches.size_at(cursor):
                yield tensors(batches.batch_at(cursor))
                cursor += workers * batches.batch_size

        def state_dict(self, steps: int | None = None) -> dict[str, Any]:
            """Gives the state of the run: here, or `steps` batches from where this object stands."""
            batches = self.batches
            return batches.get_state(None if steps is None else batches.cursor + steps * batches.batch_size)

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            """Goes on where a run stood."""
            self.batches.set_state(state)

    return TorchBatches


_MAKERS = {"TorchExamples": _examples_class, "TorchBatches": _batches_class}

if TYPE_CHECKING:
    TorchExamples: Any
    TorchBatches: Any


def __getattr__(name: str) -> Any:
    if name not in _MAKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = _MAKERS[name]()
    made.__qualname__ = name  # found again by its name here, in the processes it is pickled to
    globals()[name] = made
    return made
