"""A stream of examples that can be walked again and again, in NumPy.

It has the methods of `tf.data.Dataset` that tasks use, and needs no TensorFlow. What comes out is what `as_numpy_iterator()` gives there:
text is `bytes`, everything else NumPy. An iterator tells where it stands (`get_state`) and goes there again (`set_state`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders.run_options import RunOptions
from tokenreel.tasks import stream_batches, stream_nodes, stream_steps, stream_tensorflow
from tokenreel.tasks.example_keys import source_key
from tokenreel.tasks.stream_nodes import Keyed, Node
from tokenreel.wording import brief

Example = dict[str, Any]
STATE_FORMAT = "tokenreel-stream-1"


class ExampleStream:
    """Examples one after another: dictionaries of NumPy arrays, scalars and `bytes`. Every `iter` begins anew, and gives the same.

    Args:
      make: makes an iterator of the examples, from the first; or a node that gives them.
      name: of the source, from which the examples' keys are made.
      spec: (dtype, shape) of each feature, None for an axis of any length, where it is known; `to_tf_data` looks at an example otherwise.
    """

    def __init__(
        self,
        make: Callable[[], Iterator[Example]] | Node,
        *,
        name: str = "examples",
        spec: Mapping[str, tuple[Any, tuple[int | None, ...]]] | None = None,
    ) -> None:
        if not isinstance(make, Node):
            make = stream_nodes.Generated(_Numbered(make, source_key(name)), name)
        self.node, self.spec = make, spec

    # Where streams come from.

    @classmethod
    def from_examples(cls, examples: Sequence[Mapping[str, Any]], name: str = "examples") -> ExampleStream:
        """Streams the examples of a list. Lists and numbers of Python become arrays as in TensorFlow: int32, float32, bytes."""
        return cls(stream_nodes.Indexed([as_example(example) for example in examples], source_key(name), name))

    @classmethod
    def from_tf_data(cls, dataset: Any, name: str = "tf.data", with_keys: bool = False) -> ExampleStream:
        """Streams what a `tf.data.Dataset` gives.

        Args:
          dataset: of any elements.
          name: of the source.
          with_keys: whether the elements are pairs as `to_tf_data(with_keys=True)` gives them; without keys, places are taken for them.
        """
        return cls(stream_tensorflow.from_tf_data(dataset, name, with_keys))

    # Steps. Each gives a new stream and leaves this one as it is.

    def _with(self, node: Node) -> ExampleStream:
        return ExampleStream(node)

    def map(self, function: Callable[[Any], Any], **unused: Any) -> ExampleStream:
        """Makes one element of each; what tf.data knows beside it (`num_parallel_calls`) has no meaning here.

        Elements that are tuples (of `enumerate`) are given as one argument each, as tf.data does.
        """
        return self._with(stream_nodes.Mapped(self.node, _Spread(function), f"map({_name(function)})"))

    def map_keyed(self, function: Callable[[Keyed], Any], name: str | None = None) -> ExampleStream:
        """Makes one element of each; the function gets its key and epoch too, from which `example_keys.seeds` draws."""
        return self._with(stream_nodes.Mapped(self.node, function, f"map({name or _name(function)})", keyed=True))

    def filter(self, function: Callable[[Any], Any]) -> ExampleStream:
        """Keeps the elements for which a function is true."""
        return self._with(stream_nodes.Filtered(self.node, _Spread(function), f"filter({_name(function)})"))

    def flat_map(self, function: Callable[[Any], Iterable[Any]]) -> ExampleStream:
        """Makes any number of elements of each."""
        return self._with(stream_nodes.FlatMapped(self.node, _Spread(function), f"flat_map({_name(function)})"))

    def flat_map_keyed(self, function: Callable[[Keyed], Iterable[Any]], name: str | None = None) -> ExampleStream:
        """Makes any number of elements of each; the function gets its key and epoch too."""
        return self._with(stream_nodes.FlatMapped(self.node, function, f"flat_map({name or _name(function)})", keyed=True))

    def regroup(self, function: Callable[[Iterator[Keyed]], Iterator[Any]], name: str | None = None) -> ExampleStream:
        """Makes a stream by a generator over the whole of this one, such as one that joins examples; its states are restored by replay."""
        return self._with(stream_nodes.Regrouped(self.node, function, f"regroup({name or _name(function)})"))

    def through_tf_data(self, function: Callable[[Any], Any], name: str | None = None, with_keys: bool = False) -> ExampleStream:
        """Makes a stream by a function from a `tf.data.Dataset` to another, which is called for each epoch.

        Args:
          function: takes and gives a data set of elements; with `with_keys`, of pairs as `to_tf_data` gives them, whose keys it keeps.
          name: of the step.
          with_keys: whether the examples keep their keys; places are taken for them otherwise.
        """
        node = stream_tensorflow.through(self.node, lambda dataset, epoch: function(dataset), name or _name(function), with_keys=with_keys)
        return self._with(node)

    def repeat(self, count: int | None = None) -> ExampleStream:
        """Goes over the stream `count` times, each time as the first; None or -1 for ever."""
        return self._with(stream_steps.Repeated(self.node, None if count == -1 else count, fresh=False))

    def epochs(self, count: int | None = None) -> ExampleStream:
        """Goes over the stream `count` times, each time in an order and with draws of its own; None or -1 for ever."""
        return self._with(stream_steps.Repeated(self.node, None if count == -1 else count, fresh=True))

    def take(self, count: int) -> ExampleStream:
        """Ends after `count` elements; -1 takes all."""
        return self._cut(0, None if count == -1 else count, 1)

    def skip(self, count: int) -> ExampleStream:
        """Leaves out the first `count` elements."""
        return self._cut(count, None, 1)

    def shard(self, num_shards: int, index: int) -> ExampleStream:
        """Takes every `num_shards`-th element, from number `index` on.

        Raises:
          ConfigError: there is no such shard.
        """
        if not 0 <= index < num_shards:
            raise ConfigError(f"the index of a shard lies between 0 and num_shards - 1 = {num_shards - 1}, got {index}")
        return self._cut(index, None, num_shards)

    def _cut(self, start: int, stop: int | None, step: int) -> ExampleStream:
        if isinstance(self.node, stream_nodes.Indexed):
            return self._with(self.node.slice(slice(start, stop, step)))
        return self._with(stream_steps.Cut(self.node, start, stop, step))

    def shuffle(self, buffer_size: int, seed: int | None = None, **unused: Any) -> ExampleStream:
        """Shuffles within windows of `buffer_size` elements; without a seed, with seed 0."""
        return self._with(stream_steps.Shuffled(self.node, buffer_size, seed or 0))

    def batch(self, batch_size: int, drop_remainder: bool = False, **unused: Any) -> ExampleStream:
        """Stacks elements of equal shapes."""
        rows = batch_size if drop_remainder else None
        spec = self.spec and {name: (dtype, (rows, *shape)) for name, (dtype, shape) in self.spec.items()}
        return ExampleStream(stream_steps.Batched(self.node, batch_size, drop_remainder), spec=spec)

    def enumerate(self, start: int = 0) -> ExampleStream:
        """Pairs each element with its number: (number, element)."""
        return self._with(stream_steps.Enumerated(self.node, start))

    def prefetch(self, buffer_size: int) -> ExampleStream:
        """Does nothing: it is here for code that was written for tf.data."""
        return self

    def cache(self) -> ExampleStream:
        """Holds the elements in memory once they have been asked for; a state is then restored at once, but epochs are all alike."""
        return self._with(stream_steps.Remembered(self.node))

    def apply(self, function: Callable[[ExampleStream], Any]) -> Any:
        """Gives what a function makes of the stream."""
        return function(self)

    # What comes out.

    def __iter__(self) -> ExampleIterator:
        return ExampleIterator(self.node)

    def as_numpy_iterator(self) -> ExampleIterator:
        """Iterates over the elements, as `iter` does."""
        return iter(self)

    def keyed(self, epoch: int = 0) -> stream_nodes.Cursor:
        """Iterates over the elements with their keys."""
        return self.node.open(epoch)

    def __len__(self) -> int:
        """Counts the elements.

        Raises:
          TypeError: the number is not known before they are made, or there is no end.
        """
        length = self.node.length()
        if length is None:
            raise TypeError(f"how many elements {self!r} has is not known before they are made")
        return length

    def to_tf_data(self, with_keys: bool = False) -> Any:
        """Gives the stream as a `tf.data.Dataset`, with the examples' types and ranks.

        Args:
          with_keys: gives pairs: the key and the epoch, int64 [2], and the element.
        """
        return stream_tensorflow.to_tf_data(self.node, self.spec, with_keys)

    def batches(self, batch_size: int, **options: Any) -> Any:
        """Gives the batches of a stream of rows as the adapters of `tokenreel.loaders` take them (JAX, Torch, Keras, Grain, tf.data).

        Args:
          batch_size: rows of the global batch.
          **options: `hosts`, `host`, `rows`, `features`, `rename`, `dtypes` and `drop_remainder`, as of `Dataset.batches`.

        Returns:
          `stream_batches.StreamBatches`.

        Raises:
          ConfigError: an option is impossible, or the stream holds no whole batch.
        """
        batches = stream_batches.StreamBatches(self.node, RunOptions(batch_size=batch_size, **options))
        batches.check_yields()
        return batches

    @property
    def element_spec(self) -> Any:
        """What `tf.data` calls so."""
        return self.to_tf_data().element_spec

    def __repr__(self) -> str:
        return f"ExampleStream({' | '.join(self.node.describe())})"


class ExampleIterator(Iterator[Any]):
    """One walk over a stream, which can be left and taken up again."""

    def __init__(self, node: Node) -> None:
        self._node, self._cursor = node, node.open(0)

    def __next__(self) -> Any:
        return next(self._cursor).value

    def get_state(self) -> dict[str, Any]:
        """Gives what a checkpoint keeps, in JSON's types."""
        return {"format": STATE_FORMAT, "steps": _digest(self._node), "place": self._cursor.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where an iterator over an equal stream stood.

        Raises:
          ManifestError: the state is of another format, or of a stream with other steps.
        """
        if state.get("format") != STATE_FORMAT:
            raise ManifestError(f"a state of format {brief(state.get('format'))}, this version reads {STATE_FORMAT!r}")
        if state.get("steps") != _digest(self._node):
            raise ManifestError(
                f"the state was saved by a stream with other steps than {' | '.join(self._node.describe())}: it would go on elsewhere. "
                "Make the data set with the same task, split, shards, seed and settings."
            )
        self._cursor = self._node.open(0)
        self._cursor.set_state(state["place"])


def _digest(node: Node) -> str:
    return keys.digest(*node.describe())


class _Numbered:
    """Gives the elements of a function their numbers as keys."""

    def __init__(self, make: Callable[[], Iterator[Any]], source: int) -> None:
        self._make, self._source = make, source

    def __call__(self, epoch: int) -> stream_nodes.NumberedIterator:
        return stream_nodes.NumberedIterator(iter(self._make()), self._source)


class _Spread:
    """Calls a function with the parts of a tuple, as tf.data does, and with anything else as it is."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, value: Any) -> Any:
        return self._function(*value) if isinstance(value, tuple) else self._function(value)


def _name(function: Any) -> str:
    while hasattr(function, "func"):
        function = function.func
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def as_example(values: Mapping[str, Any]) -> Example:
    r"""Makes an example of values of Python: what NumPy holds is left as it is, the rest becomes what TensorFlow would make of it.

    >>> {name: (value.dtype, value.tolist()) for name, value in as_example({"a": [1, 2], "b": 0.5, "c": ["x"]}).items()}
    {'a': (dtype('int32'), [1, 2]), 'b': (dtype('float32'), 0.5), 'c': (dtype('O'), [b'x'])}
    >>> as_example({"text": "é"})
    {'text': b'\xc3\xa9'}
    """
    return {name: as_value(value) for name, value in values.items()}


def as_value(value: Any, integers: type[np.integer[Any]] = np.int32) -> Any:
    """Makes a value of an example; whole numbers get the type given.

    Raises:
      ConfigError: a number does not fit the type, or lists are not all equally long.
    """
    if isinstance(value, (np.ndarray, np.generic, bytes)):
        return value
    if isinstance(value, str):
        return value.encode()
    try:
        array = np.asarray(value)
        if array.dtype.kind in "OUS" and array.ndim:
            texts = [part.encode() if isinstance(part, str) else part for part in array.ravel().tolist()]
            return np.array(texts, dtype=object).reshape(array.shape)
        if not array.size and array.ndim and not isinstance(value, Mapping):
            return np.zeros(array.shape, integers)
        if array.dtype.kind in "iu":
            checked = np.asarray(value, dtype=integers)
            return checked if checked.ndim else checked[()]
    except (ValueError, OverflowError, TypeError) as error:
        raise ConfigError(f"{brief(value)} is no value of an example ({error}): give a NumPy array of the type that is meant") from error
    if array.dtype.kind == "f":
        return array.astype(np.float32) if array.ndim else np.float32(value)
    if array.dtype.kind == "b":
        return array if array.ndim else np.bool_(value)
    raise ConfigError(f"{brief(value)} is no value of an example: give numbers, text or lists of them")
