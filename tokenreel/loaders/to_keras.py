"""Batches as a Keras `PyDataset`, projected to exactly what the model takes.

`KerasBatches` is made when it is first asked for, so that importing this module does not import Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenreel.errors import ConfigError
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.fields import LOSS_WEIGHTS, TARGETS, Arrays

Choice = str | Callable[[Arrays], Any]


def model_inputs(model: Any) -> tuple[list[str], bool]:
    """Gives the names of a functional model's inputs, and whether it takes them as a dict (else in order).

    Raises:
      ConfigError: the model has no fixed inputs; name them.
    """
    structure = getattr(model, "_inputs_struct", None)
    if structure is None:
        structure = getattr(model, "input", None)
    if isinstance(structure, Mapping):
        return list(structure), True
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise ConfigError("the model's inputs are not known before it is called: give their names as `inputs`")
    return [tensor.name.split(":")[0] for tensor in tensors], False


class Projection:
    """Turns a batch into what Keras takes of it: (x, y, sample_weight), without what the model or the caller leaves out.

    Args:
      model: whose inputs are wanted, or None.
      inputs: the model's input names, each with the field (or function of the batch) that feeds it; names alone are fields too.
      targets: field or function for y; None gives (x,).
      weights: field or function for sample_weight; None gives (x, y).

    Raises:
      ConfigError: neither a model nor inputs are given, or the model has no input of a given name.
    """

    def __init__(
        self, model: Any, inputs: Mapping[str, Choice] | Sequence[str] | None, targets: Choice | None, weights: Choice | None
    ) -> None:
        given = inputs if isinstance(inputs, Mapping) else {name: name for name in inputs or ()}
        names, self._as_dict = list(given), True
        if model is not None:
            names, self._as_dict = model_inputs(model)
            if unused := [name for name in given if name not in names]:
                raise ConfigError(f"the model has no input {unused[0]!r}; its inputs are {', '.join(names)}")
        if not names:
            raise ConfigError("give the model, or the names of its inputs")
        self._x: dict[str, Choice] = {name: given.get(name, name) for name in names}
        self._y, self._weights = targets, weights

    def __call__(self, batch: Arrays) -> tuple[Any, ...]:
        """Picks the fields of a batch.

        Raises:
          ConfigError: the batch lacks a field.
        """
        x = {name: _pick(batch, choice, f"input {name!r}") for name, choice in self._x.items()}
        inputs: Any = x if self._as_dict else (next(iter(x.values())) if len(x) == 1 else list(x.values()))
        if self._y is None:
            return (inputs,)
        y = _pick(batch, self._y, "targets")
        return (inputs, y) if self._weights is None else (inputs, y, _pick(batch, self._weights, "sample weights"))


def _pick(batch: Arrays, choice: Choice, what: str) -> Any:
    if callable(choice):
        return choice(batch)
    if choice not in batch:
        raise ConfigError(
            f"no field {choice!r} for {what}; a batch holds {', '.join(batch)}. Ask for it with `features`, or say which field it is with "
            "`inputs`, `targets` or `weights`."
        )
    return batch[choice]


def _class() -> Any:
    import keras

    class KerasBatches(keras.utils.PyDataset):  # type: ignore[misc]
        """Batches as (x, y, sample_weight), for `fit`, `evaluate` and `predict`.

        Keras binds inputs by sorted key, so one key too many feeds the wrong tensor: `x` has exactly the model's keys.

        For a run without end `num_batches` is None: give `fit` its `steps_per_epoch`; batches follow each other through all its epochs. A
        run that ends is one pass: `fit` must be told `shuffle=False` then, or Keras permutes the batches.

        Args:
          batches: of the run; begins where it stands, so resume by its `set_state` before. After k steps a checkpoint keeps `get_state(k)`.
          model: whose inputs are wanted; or give `inputs`.
          inputs, targets, weights: see `Projection`.

        Raises:
          ConfigError: an input of the model is fed by no field; the batches are a share of the run, and the model's strategy makes shares
            itself; or `cu_seqlens` has no declared size, or is cut by a distribution.
        """

        def __init__(
            self,
            batches: Batches,
            model: Any = None,
            *,
            inputs: Mapping[str, Choice] | Sequence[str] | None = None,
            targets: Choice | None = TARGETS,
            weights: Choice | None = LOSS_WEIGHTS,
        ) -> None:
            super().__init__(workers=1, use_multiprocessing=False)
            strategy = getattr(model, "distribute_strategy", None)  # TensorFlow's
            cuts = keras.distribution.distribution() is not None or getattr(strategy, "num_replicas_in_sync", 1) > 1
            batches.options.check_whole_batches("Keras", "the distribution" if cuts else "")
            if batches.hosts > 1 and getattr(strategy, "num_replicas_in_sync", 1) > 1:
                raise ConfigError(
                    f"the strategy shares each batch out among its workers, and these batches are the share of host {batches.host} of "
                    f"{batches.hosts}: give the whole run, without hosts"
                )
            self._project = Projection(model, inputs, targets, weights)
            self._batches, self._start = batches, batches.cursor
            self._project(batches.example_batch())  # a missing field fails here, not in the first step

        @property
        def num_batches(self) -> int | None:
            """Batches of one pass; None for a run without end."""
            total = self._batches.num_batches
            return None if total is None else total - self._start // self._batches.batch_size

        def __getitem__(self, index: int) -> Any:
            return self._project(self._batches.batch_at(self._start + index * self._batches.batch_size))

        def get_state(self, steps: int) -> dict[str, Any]:
            """Gives the state of the run after so many batches from its start here; `model.optimizer.iterations` counts them."""
            return self._batches.get_state(self._start + int(steps) * self._batches.batch_size)

    return KerasBatches


if TYPE_CHECKING:
    KerasBatches: Any


def __getattr__(name: str) -> Any:
    if name != "KerasBatches":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = _class()
    made.__qualname__ = name
    globals()[name] = made
    return made
