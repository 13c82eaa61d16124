"""Steps made of a function of one example: `map_over_dataset`, whose functions are TensorFlow's as in SeqIO, and `map_examples` in NumPy.

A step takes an `ExampleStream` or a `tf.data.Dataset` and gives what it was given. On a stream a random function's seeds belong to the
example: they follow from the seed of the run, the step, the example's key and the epoch. A filter, another number of hosts or a resumed run
changes none of them. A `tf.data.Dataset` has no keys: there, and with `compat="seqio"`, seeds belong to places, and are SeqIO's own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, overload

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks import example_keys, step_seeds
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.preprocessor_marks import mark_random, numpy_preprocessor, step_name
from tokenreel.tasks.stream_nodes import Keyed

Step = Callable[..., Any]
_OF_MANY = "of_many"


@overload
def map_over_dataset(fn: Step) -> Step: ...
@overload
def map_over_dataset(*, num_seeds: int | None = None, num_parallel_calls: int | None = None) -> Callable[[Step], Step]: ...
def map_over_dataset(fn: Step | None = None, *, num_seeds: int | None = None, num_parallel_calls: int | None = None) -> Any:
    """Makes a step of a TensorFlow function of one example; a decorator, with or without arguments.

    Args:
      fn: gets the example, what the step is called with, and `seed` (a pair of integers) or `seeds` (pairs) if it asks for them.
      num_seeds: pairs of integers for each example: with 1 the function gets `seed`, with more `seeds`.
      num_parallel_calls: as for `tf.data.Dataset.map`; None leaves it to TensorFlow.

    Returns:
      the step, which takes the data set and the function's other arguments.
    """

    def in_parallel(dataset: Any, function: Step) -> Any:
        import tensorflow as tf

        return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE if num_parallel_calls is None else num_parallel_calls)

    def over_tensors(dataset: Any, function: Step, args: Any, kwargs: Any) -> Any:
        import tensorflow as tf

        if not num_seeds:
            return in_parallel(dataset, _OfParts(function, args, kwargs))
        random = _by_place(step_seeds.current().pairs(num_seeds))
        seeded = tf.data.Dataset.zip((dataset, random))
        return in_parallel(seeded, lambda value, seeds: _OfParts(function, args, kwargs)(value, **_named(seeds)))

    def over_stream(stream: ExampleStream, function: Step, args: Any, kwargs: Any) -> ExampleStream:
        import tensorflow as tf

        if num_seeds and step_seeds.current().compat == "seqio":
            return ExampleStream.from_tf_data(over_tensors(stream.to_tf_data(), function, args, kwargs))
        name = step_name(function)
        draw = _draws(name, num_seeds) if num_seeds else None

        def call(key: Any, value: Any) -> tuple[Any, Any]:
            seeds = {}
            if draw is not None:
                drawn = tf.numpy_function(lambda key: draw((int(key[0]),), int(key[1])).astype(np.int64), [key], tf.int64, stateful=False)
                seeds = _named(tuple(tuple(tf.unstack(pair)) for pair in tf.unstack(tf.ensure_shape(drawn, [num_seeds, 2]))))
            return key, _OfParts(function, args, kwargs)(value, **seeds)

        return stream.through_tf_data(lambda pairs: in_parallel(pairs, call), name, with_keys=True)

    return _decorator(fn, num_seeds, over_stream, over_tensors)


@overload
def map_examples(fn: Step) -> Step: ...
@overload
def map_examples(*, num_seeds: int | None = None, of_tensors: bool = False) -> Callable[[Step], Step]: ...
def map_examples(fn: Step | None = None, *, num_seeds: int | None = None, of_tensors: bool = False) -> Any:
    """Makes a step of a NumPy function of one example; a decorator, with or without arguments.

    Args:
      fn: gets the example (a dictionary of its own, which it may change), what the step is called with, and `seed` or `seeds` as in
        `map_over_dataset`, int64 [2] and [num_seeds, 2].
      num_seeds: pairs of integers for each example.
      of_tensors: whether the function takes an example of tensors as well, so that `tf.data` can call it.

    Returns:
      the step, which takes the data set and the function's other arguments.
    """

    def over_stream(stream: ExampleStream, function: Step, args: Any, kwargs: Any) -> ExampleStream:
        name = step_name(function)
        if not num_seeds:
            return stream.map_keyed(_OfExample(function, args, kwargs), name)
        seeds = step_seeds.current()
        if seeds.compat == "seqio":
            pairs = seeds.pairs(num_seeds)

            def by_place(elements: Iterator[Keyed]) -> Iterator[Any]:
                for element, drawn in zip(elements, _by_place(pairs).as_numpy_iterator(), strict=False):
                    yield function(_own(element.value), *args, **_named(np.array(drawn)), **kwargs)

            return stream.regroup(by_place, name)
        draw = _draws(name, num_seeds)

        def by_key(element: Keyed) -> Any:
            drawn = draw(element.key, element.epoch).astype(np.int64)
            return function(_own(element.value), *args, **_named(drawn), **kwargs)

        return stream.map_keyed(by_key, name)

    def over_tensors(dataset: Any, function: Step, args: Any, kwargs: Any) -> Any:
        if of_tensors:
            return map_over_dataset(function)(dataset, *args, **kwargs)
        return through_stream(dataset, lambda stream: over_stream(stream, function, args, kwargs))

    return _decorator(fn, num_seeds, over_stream, over_tensors)


def many_at_once(of_many: Callable[..., list[Any]]) -> Callable[[Step], Step]:
    """Gives a function of an example a form for many, which `map_examples` uses where many are read at once; a decorator below it.

    Args:
      of_many: gets a list of examples, which it may change, and what the function gets beside its example; gives a list of what the
        function gives for each. It is no part of what a cache is known by, which the function is.
    """

    def mark(function: Step) -> Step:
        setattr(function, _OF_MANY, of_many)
        return function

    return mark


def stream_step(step: Step) -> Step:
    """Lets a step that takes an `ExampleStream` take a `tf.data.Dataset` too, and give one back; a decorator."""

    @functools.wraps(step)
    def wrapped(dataset: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(dataset, ExampleStream):
            return step(dataset, *args, **kwargs)
        return through_stream(dataset, lambda stream: step(stream, *args, **kwargs))

    return numpy_preprocessor(wrapped)


def through_stream(dataset: Any, step: Callable[[ExampleStream], ExampleStream]) -> Any:
    """Gives what a step over streams makes of a `tf.data.Dataset`, as one.

    Raises:
      ConfigError: it is no data set.
    """
    if not hasattr(dataset, "as_numpy_iterator"):
        raise ConfigError(f"a step takes an ExampleStream or a tf.data.Dataset, got {type(dataset).__name__}")
    return step(ExampleStream.from_tf_data(dataset)).to_tf_data()


def _decorator(fn: Step | None, num_seeds: int | None, over_stream: Step, over_tensors: Step) -> Any:
    def decorate(function: Step) -> Step:
        @functools.wraps(function)
        def step(dataset: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(dataset, ExampleStream):
                return over_stream(dataset, function, args, kwargs)
            return over_tensors(dataset, function, args, kwargs)

        signature = inspect.signature(function)
        free = [parameter for name, parameter in signature.parameters.items() if not (num_seeds and name in ("seed", "seeds"))]
        step.__signature__ = signature.replace(parameters=free)  # type: ignore[attr-defined]  # seeds are not the caller's to give
        return mark_random(numpy_preprocessor(step), num_seeds or 0)

    return decorate if fn is None else decorate(fn)


class _OfExample:
    """A function of an example's value with its other arguments bound, and its form for many if it has one."""

    def __init__(self, function: Step, args: Any, kwargs: Any) -> None:
        self._function, self._args, self._kwargs = function, args, kwargs
        if hasattr(function, _OF_MANY):
            self.of_many = self._call_many

    def __call__(self, element: Keyed) -> Any:
        return self._function(_own(element.value), *self._args, **self._kwargs)

    def _call_many(self, elements: list[Keyed]) -> list[Any]:
        of_many: Callable[..., list[Any]] = getattr(self._function, _OF_MANY)
        return of_many([_own(element.value) for element in elements], *self._args, **self._kwargs)


class _OfParts:
    """A function that gets a tuple's parts as arguments, as `tf.data` gives them."""

    def __init__(self, function: Step, args: Any, kwargs: Any) -> None:
        self._function, self._args, self._kwargs = function, args, kwargs

    def __call__(self, *parts: Any, **seeds: Any) -> Any:
        value = parts[0] if len(parts) == 1 else parts
        values = value if isinstance(value, tuple) else (value,)
        return self._function(*values, *self._args, **seeds, **self._kwargs)


def _draws(function: str, num_seeds: int) -> Callable[[tuple[int, ...], int], Any]:
    """Draws int32 [num_seeds, 2] for the key of an example and an epoch, for a step that is put together now."""
    seeds = step_seeds.current()
    seed, name = seeds.seed, seeds.name(function)
    return lambda key, epoch: example_keys.seeds(seed, name, key, epoch, num_seeds)


def _by_place(pairs: list[tuple[int, int]]) -> Any:
    """Draws for one example after the other, as SeqIO does: a `tf.data.Dataset` of a pair of integers for each of the pairs."""
    import tensorflow as tf

    random = tf.data.Dataset.random
    return tf.data.Dataset.zip(tuple(tf.data.Dataset.zip((random(first), random(second))) for first, second in pairs))


def _named(seeds: Any) -> dict[str, Any]:
    return {"seed": seeds[0]} if len(seeds) == 1 else {"seeds": seeds}


def _own(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value
