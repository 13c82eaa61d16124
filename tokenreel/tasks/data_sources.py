"""Where the examples of a task come from, before any step.

What gives NumPy examples gives an `ExampleStream`; what is made of functions of TensorFlow gives a `tf.data.Dataset`.
"""

from __future__ import annotations

import abc
import functools
import glob
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.storage import files as storage_files
from tokenreel.tasks.example_keys import source_key
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.file_readers import FileReader, JsonLines, ParquetRows, TextLines, TFExamples
from tokenreel.tasks.interleaving import InterleavedFiles
from tokenreel.tasks.providers import DatasetProviderBase, Lengths, ShardInfo
from tokenreel.tasks.stream_nodes import Generated

FilePattern = str | Iterable[str]


class DataSource(DatasetProviderBase):
    """Gives raw examples. A source of one's own needs `supports_arbitrary_sharding`, `list_shards` and `get_dataset`.

    Args:
      splits: their names.
      num_input_examples: examples of each split, where they are known.
      caching_permitted: whether a task of this source may be cached.
      performs_internal_shuffling: whether the source shuffles as well as the task would.
    """

    def __init__(
        self,
        splits: Iterable[str],
        num_input_examples: Mapping[str, int] | None = None,
        caching_permitted: bool = True,
        performs_internal_shuffling: bool = False,
    ) -> None:
        self._splits = tuple(splits)
        self._num_input_examples = dict(num_input_examples) if num_input_examples is not None else None
        self._caching_permitted = caching_permitted
        self._performs_internal_shuffling = performs_internal_shuffling

    @property
    def caching_permitted(self) -> bool:
        """Whether a task of this source may be cached."""
        return self._caching_permitted

    @property
    def splits(self) -> Sequence[str]:
        """The names of its splits."""
        return self._splits

    @property
    @abc.abstractmethod
    def supports_arbitrary_sharding(self) -> bool:
        """Whether it makes any number of shards, however many `list_shards` tells."""

    @property
    def output_features(self) -> Mapping[str, Any]:
        """Nothing: only a task knows its features."""
        raise NotImplementedError

    @property
    def performs_internal_shuffling(self) -> bool:
        """Whether it shuffles as well as the task would."""
        return self._performs_internal_shuffling

    @abc.abstractmethod
    def list_shards(self, split: str) -> Sequence[str]:
        """Names the parts of a split that can be read apart, such as its files."""

    @abc.abstractmethod
    def get_dataset(  # type: ignore[override]  # SeqIO's sources take their arguments in another order than its tasks
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: ShardInfo | None = None,
        *,
        sequence_length: Lengths | None = None,
        use_cached: bool = False,
        num_epochs: int | None = 1,
    ) -> Any:
        """Gives the raw examples of a split, those of one shard if it is given; the last three arguments are not used."""

    def num_input_examples(self, split: str) -> int | None:
        """Counts the raw examples of a split; None where that is not known."""
        return None if self._num_input_examples is None else self._num_input_examples[split]


class FunctionDataSource(DataSource):
    """Examples that a function makes.

    Args:
      dataset_fn: takes (split, shuffle_files) and maybe a seed; gives a `tf.data.Dataset`, an `ExampleStream` or a list of examples.
      splits, num_input_examples, caching_permitted: as in `DataSource`.

    Raises:
      ValueError: the function takes other arguments.
    """

    def __init__(
        self,
        dataset_fn: Callable[..., Any],
        splits: Iterable[str],
        num_input_examples: Mapping[str, int] | None = None,
        caching_permitted: bool = True,
    ) -> None:
        _check_arguments(dataset_fn, ("split", "shuffle_files"))
        self._dataset_fn = dataset_fn
        super().__init__(splits, num_input_examples, caching_permitted)

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """No: the function makes the whole split."""
        return False

    def get_dataset(  # type: ignore[override]
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: ShardInfo | None = None,
        *,
        sequence_length: Lengths | None = None,
        use_cached: bool = False,
        num_epochs: int | None = 1,
    ) -> Any:
        """Gives what the function makes.

        Raises:
          ValueError: a shard is asked for, or a seed that the function does not take.
        """
        if shard_info and shard_info.num_shards > 1:
            raise ValueError("`FunctionDataSource` does not support low-level sharding. Use tf.data.Dataset.shard instead.")
        if seed is None or "seed" not in inspect.signature(self._dataset_fn).parameters:
            made = self._dataset_fn(split=split, shuffle_files=shuffle)
        else:
            made = self._dataset_fn(split=split, shuffle_files=shuffle, seed=seed)
        return ExampleStream.from_examples(made, f"function/{split}") if isinstance(made, (list, tuple)) else made

    def list_shards(self, split: str) -> Sequence[str]:
        """Gives the split itself, the one part there is."""
        return [split]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dataset_fn={self._dataset_fn!r}, splits={self._splits})"


def _check_arguments(function: Callable[..., Any], expected: tuple[str, ...]) -> None:
    """Checks that a function begins with some arguments and needs no others.

    Raises:
      ValueError: it does not.
    """
    parameters = tuple(inspect.signature(function).parameters.values())
    names = tuple(parameter.name for parameter in parameters)
    name = getattr(function, "__name__", type(function).__name__)
    if names[: len(expected)] != expected:
        raise ValueError(f"'{name}' must have initial args {expected}, got: {names}")
    needed = tuple(parameter.name for parameter in parameters if parameter.default == parameter.empty)
    if needed != expected[: len(needed)]:
        raise ValueError(f"'{name}' may only have positional args {expected}, got: {needed}")


class FileDataSource(DataSource):
    """Examples of files, of which several are read in turns.

    Args:
      read_file_fn: a `FileReader`; or a function from a `tf.data` path to a `tf.data.Dataset`, such as `tf.data.TFRecordDataset`.
      split_to_filepattern: paths or patterns of each split, local or `gs://`.
      num_input_examples, caching_permitted, performs_internal_shuffling: as in `DataSource`.
      file_shuffle_buffer_size: files that are shuffled together; None for all.
      cycle_length: files that are read in turns.
      block_length: examples that are taken of a file in its turn.
    """

    def __init__(
        self,
        read_file_fn: Callable[[Any], Any],
        split_to_filepattern: Mapping[str, FilePattern],
        num_input_examples: Mapping[str, int] | None = None,
        caching_permitted: bool = True,
        file_shuffle_buffer_size: int | None = None,
        cycle_length: int = 16,
        block_length: int = 16,
        performs_internal_shuffling: bool = False,
    ) -> None:
        self.read_file_fn = read_file_fn
        self._split_to_filepattern = dict(split_to_filepattern)
        self._file_shuffle_buffer_size = file_shuffle_buffer_size
        self._cycle_length, self._block_length = cycle_length, block_length
        super().__init__(self._split_to_filepattern, num_input_examples, caching_permitted, performs_internal_shuffling)

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """No: a shard has whole files."""
        return False

    @property
    def turns(self) -> tuple[int, int]:
        """Files that are read in turns, and examples that are taken of one in its turn."""
        return self._cycle_length, self._block_length

    @property
    def file_format(self) -> str | None:
        """The name of the files' format; None where a function of TensorFlow reads them."""
        return self.read_file_fn.file_format if isinstance(self.read_file_fn, FileReader) else None

    def list_shards(self, split: str) -> Sequence[str]:
        """Lists the files of a split, as they are now."""
        return list_files(self._split_to_filepattern[split])

    def get_dataset(  # type: ignore[override]
        self,
        split: str = "train",
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: ShardInfo | None = None,
        *,
        sequence_length: Lengths | None = None,
        use_cached: bool = False,
        num_epochs: int | None = 1,
    ) -> Any:
        """Gives the examples of a split's files, or of every `num_shards`-th file from number `index` on.

        Raises:
          ValueError: there is no file, or there are fewer than shards.
        """
        paths = self.list_shards(split)
        if not paths:
            raise ValueError(f"No file is found for the file pattern: {self._split_to_filepattern[split]}.")
        numbers = list(range(len(paths)))
        if shard_info:
            if len(paths) < shard_info.num_shards:
                raise ValueError(
                    f"Dataset has too few files to shard. {len(paths)} files vs {shard_info.num_shards} shards requested. "
                    "Get the task's data set, which shards examples then, or write more files."
                )
            numbers = numbers[shard_info.index :: shard_info.num_shards]
        if not isinstance(self.read_file_fn, FileReader):
            return self._of_tensorflow([paths[number] for number in numbers], shuffle, seed)
        make = functools.partial(
            _interleave,
            self.read_file_fn,
            paths,
            numbers,
            source_key("files", split),
            None if not shuffle else (seed or 0, self._file_shuffle_buffer_size),
            self.turns,
        )
        described = f"({len(paths)}, {numbers[0]}::{len(paths) // len(numbers)}, shuffle={shuffle and (seed or 0)})"
        return ExampleStream(Generated(make, f"files/{split}", described))

    def _of_tensorflow(self, paths: Sequence[str], shuffle: bool, seed: int | None) -> Any:
        import tensorflow as tf

        files = tf.data.Dataset.from_tensor_slices(np.array(paths, dtype=str))
        if shuffle:
            files = files.shuffle(self._file_shuffle_buffer_size or len(paths), seed=seed or 0)
        return files.interleave(
            self.read_file_fn, cycle_length=self._cycle_length, block_length=self._block_length, num_parallel_calls=tf.data.AUTOTUNE
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(split_to_filepattern={self._split_to_filepattern})"


def _interleave(
    read: FileReader,
    paths: Sequence[str],
    numbers: Sequence[int],
    source: int,
    shuffled: tuple[int, int | None] | None,
    lengths: tuple[int, int],
    epoch: int,
) -> Iterator[Any]:
    if shuffled is not None:
        seed, window = shuffled
        window = window or len(numbers)
        words = keys.bits(seed, "tasks/files", [keys.key("files", epoch)], len(numbers))[0]
        windows = (np.argsort(words[start : start + window], kind="stable") + start for start in range(0, len(numbers), window))
        numbers = [numbers[place] for places in windows for place in places.tolist()]
    return InterleavedFiles(read, [paths[number] for number in numbers], numbers, source, *lengths)


def list_files(patterns: FilePattern) -> list[str]:
    """Lists the files of one or more patterns, those of each pattern sorted; a path without `*`, `?` or `[` stands for itself."""
    found: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if not glob.has_magic(pattern):
            found.append(pattern)
        elif storage_files.is_remote(pattern):
            found.extend(sorted(storage_files.remote_glob(pattern)))
        else:
            found.extend(sorted(glob.glob(storage_files.expand(pattern))))
    return found


class TextLineDataSource(FileDataSource):
    """The lines of text files, as `bytes`; other arguments are those of `FileDataSource`.

    Args:
      split_to_filepattern: paths or patterns of each split.
      skip_header_lines: lines at the start of each file that are left out.
    """

    def __init__(
        self,
        split_to_filepattern: Mapping[str, FilePattern],
        skip_header_lines: int = 0,
        num_input_examples: Mapping[str, int] | None = None,
        caching_permitted: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(TextLines(skip_header_lines), split_to_filepattern, num_input_examples, caching_permitted, **options)


class JsonLinesDataSource(FileDataSource):
    """The objects of JSON lines files; other arguments are those of `FileDataSource`.

    Args:
      split_to_filepattern: paths or patterns of each split.
      fields: names of those wanted; None for all.
    """

    def __init__(
        self,
        split_to_filepattern: Mapping[str, FilePattern],
        fields: Sequence[str] | None = None,
        num_input_examples: Mapping[str, int] | None = None,
        caching_permitted: bool = True,
        **options: Any,
    ) -> None:
        reader = JsonLines(None if fields is None else tuple(fields))
        super().__init__(reader, split_to_filepattern, num_input_examples, caching_permitted, **options)


class ParquetDataSource(FileDataSource):
    """The rows of Parquet files, which tell their number; other arguments are those of `FileDataSource`.

    Args:
      split_to_filepattern: paths or patterns of each split.
      fields: names of the columns wanted; None for all.
    """

    def __init__(
        self,
        split_to_filepattern: Mapping[str, FilePattern],
        fields: Sequence[str] | None = None,
        num_input_examples: Mapping[str, int] | None = None,
        caching_permitted: bool = True,
        **options: Any,
    ) -> None:
        self._rows = ParquetRows(None if fields is None else tuple(fields))
        super().__init__(self._rows, split_to_filepattern, num_input_examples, caching_permitted, **options)

    def num_input_examples(self, split: str) -> int | None:
        """Counts the rows of a split by the files' footers, unless their number was given."""
        given = super().num_input_examples(split)
        return sum(map(self._rows.count, self.list_shards(split))) if given is None else given


class TFExampleDataSource(FileDataSource):
    """Records of `tf.train.Example`; other arguments are those of `FileDataSource`.

    They are read without TensorFlow, unless the description asks for sparse or ragged features or a reader is given.

    Args:
      split_to_filepattern: paths or patterns of each split.
      feature_description: `tf.io.FixedLenFeature` and its like by name; or pairs (shape, dtype).
      reader_cls: a `tf.data.Dataset` of the files' records, such as one with compression.
    """

    def __init__(
        self,
        split_to_filepattern: Mapping[str, FilePattern],
        feature_description: Mapping[str, Any],
        reader_cls: Callable[[Any], Any] | None = None,
        num_input_examples: Mapping[str, int] | None = None,
        caching_permitted: bool = True,
        **options: Any,
    ) -> None:
        if not feature_description:
            raise ConfigError("a source of tf.train.Example needs the features that are read: feature_description is empty")
        self.feature_description, self.reader_cls = dict(feature_description), reader_cls
        reader = TFExamples.of(feature_description) if reader_cls is None else None
        read = reader or functools.partial(_parse_with_tensorflow, self.feature_description, reader_cls)
        super().__init__(read, split_to_filepattern, num_input_examples, caching_permitted, **options)


def _parse_with_tensorflow(description: Mapping[str, Any], reader_cls: Callable[[Any], Any] | None, path: Any) -> Any:
    import tensorflow as tf

    records = (reader_cls or tf.data.TFRecordDataset)(path)
    # Some readers give more than the record, which is the last.
    return records.map(lambda *parts: tf.io.parse_single_example(parts[-1], description), num_parallel_calls=tf.data.AUTOTUNE)


class ProtoDataSource(FileDataSource):
    """Records of any protocol buffer; other arguments are those of `FileDataSource`.

    Args:
      split_to_filepattern: paths or patterns of each split.
      decode_proto_fn: a function of TensorFlow from a record to an example.
      reader_cls: a `tf.data.Dataset` of the files' records.
    """

    def __init__(
        self,
        split_to_filepattern: Mapping[str, FilePattern],
        decode_proto_fn: Callable[..., Any],
        reader_cls: Callable[[Any], Any] | None = None,
        num_input_examples: Mapping[str, int] | None = None,
        caching_permitted: bool = True,
        **options: Any,
    ) -> None:
        self.decode_proto_fn, self.reader_cls = decode_proto_fn, reader_cls
        read = functools.partial(_decode_with_tensorflow, decode_proto_fn, reader_cls)
        super().__init__(read, split_to_filepattern, num_input_examples, caching_permitted, **options)


def _decode_with_tensorflow(decode: Callable[..., Any], reader_cls: Callable[[Any], Any] | None, path: Any) -> Any:
    import tensorflow as tf

    return (reader_cls or tf.data.TFRecordDataset)(path).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
