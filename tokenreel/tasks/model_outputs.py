"""What models give for the examples of a task, put into their order, and gathered from all hosts."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.metrics import map_leaves, take
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor, takes_streams
from tokenreel.tasks.providers import ShardInfo
from tokenreel.wording import first_of, plural

ModelFunction = Callable[[Any], Any]
Gather = Callable[[Any], Sequence[Any]]
_Function = TypeVar("_Function", bound=ModelFunction)


def numpy_model_fn(function: _Function) -> _Function:
    """Marks a model function that takes an `ExampleStream` of (index, example); all others get a `tf.data.Dataset`, as in SeqIO.

    `for indices, batch in dataset.batch(32)` gives NumPy arrays, of whole batches but for the last.

    >>> takes_streams(numpy_model_fn(lambda dataset: []))
    True
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return numpy_preprocessor(call)  # type: ignore[return-value]


def enumerated(rows: ExampleStream, count: int, function: ModelFunction, shard_info: ShardInfo | None) -> Any:
    """Gives a model function the rows of a task, in the form that it takes, each with its number among those of all hosts.

    Args:
      rows: features of the model.
      count: how many there are.
      function: is asked for its form.
      shard_info: the share of this host; None for all.
    """
    if takes_streams(function):
        dataset: Any = rows.enumerate()
    else:
        import tensorflow as tf

        dataset = rows.to_tf_data().apply(tf.data.experimental.assert_cardinality(count)).enumerate()
    return dataset if shard_info is None else dataset.shard(shard_info.num_shards, shard_info.index)


def run(rows: ExampleStream, count: int, function: ModelFunction, shard_info: ShardInfo | None = None, gather: Gather | None = None) -> Any:
    """Calls a model function for the rows of a task.

    Args:
      rows: features of the model.
      count: how many there are.
      function: gives a list of (index, output); or such a list and a dictionary of lists of further values, in the order of the first.
      shard_info: the share of this host; None for all.
      gather: joins the hosts: called with what this one has, it gives what all have.

    Returns:
      the outputs in the order of the examples; or a pair of them and of the further values in that order.

    Raises:
      ConfigError: there is not one output for each example.
    """
    result = function(enumerated(rows, count, function, shard_info))
    pairs, further = result if _has_further(result) else (result, None)
    indices, outputs = _columns(pairs)
    own: tuple[list[int], list[Any], Any] = (indices, outputs, further)
    parts = [own] if gather is None else list(gather(own))
    indices = [index for part in parts for index in part[0]]
    outputs = [output for part in parts for output in part[1]]
    _check_indices(indices, count)
    order = np.argsort(indices, kind="stable")
    outputs = take(outputs, order)
    if further is None:
        return outputs
    further = functools.reduce(_joined, (part[2] for part in parts))
    return outputs, map_leaves(lambda values: take(values, order), further)


def _has_further(result: Any) -> bool:
    """Says whether a function gave two things; a tuple of pairs is one."""
    return isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)


def _columns(pairs: Any) -> tuple[list[int], list[Any]]:
    pairs = list(pairs)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or np.ndim(pair[0]) != 0:
            raise ConfigError(
                "Expected a sequence of length-2 tuples with (index, score) format, or (index, token ids): "
                f"a model function gave {type(pair).__name__} {str(pair)[:80]!r} among them"
            )
    return [int(index) for index, _ in pairs], [output for _, output in pairs]


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return {name: _joined(value, other[name]) for name, value in one.items()}
    return tuple(_joined(*pair) for pair in zip(one, other, strict=True)) if isinstance(one, tuple) else [*one, *other]


def _check_indices(indices: Sequence[int], count: int) -> None:
    if sorted(indices) == list(range(count)):
        return
    given = set(indices)
    missing = [str(index) for index in range(count) if index not in given]
    foreign = [str(index) for index in sorted(given) if not 0 <= index < count]
    wrong = [f"nothing for {first_of(missing, 5)}"] if missing else []
    wrong += [f"something for {first_of(foreign, 5)}, which are no examples"] if foreign else []
    wrong += [f"{plural(len(indices) - len(given), 'index')} again"] if len(given) < len(indices) else []
    raise ConfigError(
        f"a model function must give one output for each of {plural(count, 'example')}, with the index that came with it, and gave "
        f"{len(indices):,}: {'; '.join(wrong)}. Rows that only fill up a batch are left out, and hosts that share the rows gather theirs."
    )


def gather_with_jax(value: Any) -> list[Any]:
    """Gives every process of `jax.distributed` what each of them has; all must call it alike. Values need to pickle.

    Args:
      value: of this process.

    Returns:
      those of all, by process.
    """
    from jax.experimental import multihost_utils

    data = np.frombuffer(pickle.dumps(value), dtype=np.uint8)
    sizes = np.atleast_1d(multihost_utils.process_allgather(np.array(len(data), dtype=np.int32))).reshape(-1)
    padded = np.zeros(int(sizes.max()), dtype=np.uint8)
    padded[: len(data)] = data
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def gather_with_torch(value: Any) -> list[Any]:
    """Gives every process of `torch.distributed` what each of them has; all must call it alike. Values need to pickle.

    Args:
      value: of this process.

    Returns:
      those of all, by rank.
    """
    from torch import distributed

    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return list(values)
