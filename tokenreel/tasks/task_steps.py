"""How a task's steps are put together: those of TensorFlow and those of NumPy in any order.

Tested in tests/tokenreel/tasks/test_task.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.tasks import step_seeds, stream_nodes, stream_steps, stream_tensorflow
from tokenreel.tasks.data_sources import DataSource
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.output_checks import OutputCheck
from tokenreel.tasks.preprocessor_marks import step_name, takes_streams
from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.step_binding import bind
from tokenreel.tasks.stream_nodes import Mapped, Node
from tokenreel.tasks.stream_tensorflow import OfTensorFlow


class CacheDatasetPlaceholder:
    """Stands among the steps where a cache is written and read: those before run once, those after each time.

    Args:
      required: whether the task can be read from its cache alone.
      file_shuffle_buffer_size: SeqIO's, without effect here: a cache is shuffled as a whole.
    """

    def __init__(self, required: bool = False, file_shuffle_buffer_size: int | None = None) -> None:
        self._required, self._file_shuffle_buffer_size = required, file_shuffle_buffer_size

    @property
    def required(self) -> bool:
        """Whether the task can be read from its cache alone."""
        return self._required

    @property
    def file_shuffle_buffer_size(self) -> int | None:
        """As it was given."""
        return self._file_shuffle_buffer_size

    def __call__(self, dataset: Any) -> Any:
        """Is never a step itself.

        Raises:
          RuntimeError: always.
        """
        raise RuntimeError("`CacheDatasetPlaceholder` should never be called.")


class Checked(Mapped):
    """The examples of a task, checked and trimmed."""

    def __init__(self, parent: Node, check: OutputCheck) -> None:
        super().__init__(parent, check, "trim")


def of_source(source: DataSource, split: str, shuffle: bool, seed: int | None, shard_info: ShardInfo | None) -> ExampleStream:
    """Streams the raw examples of a split, or of a share of it: of whole files where there are enough, of examples otherwise."""
    at_source = shard_info is None or source.supports_arbitrary_sharding or len(source.list_shards(split=split)) >= shard_info.num_shards
    arguments: dict[str, Any] = {"split": split, "shuffle": shuffle, "seed": 0 if seed is None and shuffle else seed}
    if at_source:
        arguments["shard_info"] = shard_info
    stream = as_stream(functools.partial(source.get_dataset, **arguments), f"{type(source).__name__}/{split}", arguments)
    return stream if at_source or shard_info is None else stream.shard(shard_info.num_shards, shard_info.index)


def as_stream(make: Callable[[], Any], name: str, arguments: Any) -> ExampleStream:
    """Makes a stream of what a source gives.

    Raises:
      ConfigError: it gives neither a stream nor a `tf.data.Dataset`.
    """
    made = make()
    if isinstance(made, ExampleStream):
        return made
    if not hasattr(made, "as_numpy_iterator"):
        raise ConfigError(f"{name} gives a {type(made).__name__}: a source gives a tf.data.Dataset or an ExampleStream")
    # It is made anew for each pass: a shuffle of tf.data is another one each time it is walked.
    return ExampleStream(OfTensorFlow(lambda epoch: make(), name, [repr(sorted(arguments.items(), key=repr))]))


def run(dataset: Any, steps: Sequence[Callable[..., Any]], first: int, seed: int, **arguments: Any) -> ExampleStream:
    """Runs steps over a stream.

    Args:
      dataset: an `ExampleStream`, or a `tf.data.Dataset`.
      steps: in their order.
      first: number of the first of them among all steps of the task.
      seed: of the task's run.
      arguments: what steps may ask for by name.
    """
    stream = dataset if isinstance(dataset, ExampleStream) else ExampleStream.from_tf_data(dataset)
    for number, step in enumerate(steps, start=first):
        step = bind(step, **arguments)
        if takes_streams(step):
            with step_seeds.map_seed_manager(seed) as seeds:
                seeds.begin(number)
                made = step(stream)
            stream = made if isinstance(made, ExampleStream) else ExampleStream.from_tf_data(made, step_name(step))
        else:
            stream = ExampleStream(stream_tensorflow.through(stream.node, _InTensorFlow(step, number, seed), step_name(step)))
    return stream


def run_as_seqio(dataset: Any, steps: Sequence[Callable[..., Any]], seed: int, **arguments: Any) -> ExampleStream:
    """Runs steps as `run` does, with SeqIO's seeds: one after the other takes the next integers, and draws by the places of examples.

    Args:
      dataset: an `ExampleStream`, or a `tf.data.Dataset`.
      steps: in their order. One that takes `tf.data` is called now, since those behind it count on from what it takes.
      seed: the first integer.
      arguments: what steps may ask for by name.
    """
    stream = dataset if isinstance(dataset, ExampleStream) else ExampleStream.from_tf_data(dataset)
    with step_seeds.map_seed_manager(seed, compat="seqio"):
        for step in steps:
            step = bind(step, **arguments)
            made = step(stream if takes_streams(step) else stream.to_tf_data())
            stream = made if isinstance(made, ExampleStream) else ExampleStream.from_tf_data(made, step_name(step))
    return stream


class _InTensorFlow:
    """Calls a step with a `tf.data.Dataset`, with the seeds of its place."""

    def __init__(self, step: Callable[..., Any], number: int, seed: int) -> None:
        self._step, self._number, self._seed = step, number, seed

    def __call__(self, dataset: Any, epoch: int) -> Any:
        seed = keys.key(self._seed, "tasks/epoch", epoch) >> 33 if epoch else self._seed
        with step_seeds.map_seed_manager(seed) as seeds:
            seeds.begin(self._number)
            made = self._step(dataset)
        return made.to_tf_data() if isinstance(made, ExampleStream) else made


def one_to_one(node: Node) -> bool:
    """Says whether a stream has an element for each of its source's, so that its source's order is its own."""
    while isinstance(node, stream_nodes.Mapped | stream_steps.Repeated):
        node = node.parent
    return isinstance(node, stream_nodes.Indexed)
