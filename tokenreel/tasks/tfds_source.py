"""Data sets of `tensorflow_datasets` as sources: `pip install 'tokenreel[tfds]'`; it is imported when a data set is first asked for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenreel.errors import ConfigError
from tokenreel.tasks.data_sources import DataSource
from tokenreel.tasks.providers import Lengths, ShardInfo


def _check_name(name: str | None) -> None:
    """Checks that a name fixes a version, without which a task would change under its users.

    Raises:
      ValueError: it does not.
    """
    if name and ":" not in name:
        raise ValueError(f"TFDS name must contain a version number, got: {name}. Write it as {name}:1.0.0, with the version that you have.")


@dataclasses.dataclass(frozen=True)
class TfdsSplit:
    """A split, or a slice of one, of a data set of its own.

    Attributes:
      dataset: its name and version.
      split: such as "train" or "train[:1%]".
      data_dir: where it was prepared; None for the usual place.
    """

    dataset: str
    split: str | None
    data_dir: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.dataset)


class TfdsDataSource(DataSource):
    """A data set of `tensorflow_datasets`, prepared before or downloaded when it is first read.

    Args:
      tfds_name: name and version, with a config if it has several ("glue/cola:2.0.0"); None if `splits` name the data sets, or if
        `tfds_data_dir` is the directory of one data set.
      tfds_data_dir: where data sets are prepared.
      splits: names; or for each name the split or slice that it stands for, such as {"validation": "train[90%:]"}, or a `TfdsSplit`; None
        for all that there are.
      caching_permitted: whether a task of it may be cached.
      decoders: those of `tfds.load`.
      tfds_builder_kwargs: further arguments of the data set's builder.
      read_only: whether a data set that is not prepared is refused, and not downloaded.

    Raises:
      ValueError: the name has no version, or names are given twice.
    """

    def __init__(
        self,
        tfds_name: str | None = None,
        tfds_data_dir: str | None = None,
        splits: Iterable[str] | Mapping[str, str] | Mapping[str, TfdsSplit] | None = None,
        caching_permitted: bool = True,
        decoders: Any = None,
        tfds_builder_kwargs: Mapping[str, Any] | None = None,
        read_only: bool = False,
    ) -> None:
        _check_name(tfds_name)
        named = splits if isinstance(splits, Mapping) else {name: name for name in splits or ()}
        self._parts: dict[str, str | TfdsSplit] = dict(named)
        if any(isinstance(part, TfdsSplit) for part in self._parts.values()) and (tfds_name or tfds_data_dir):
            raise ValueError("If split values are instances of `TfdsSplit`, `name` and `data_dir` must be `None`.")
        self.tfds_name, self.tfds_data_dir = tfds_name, tfds_data_dir
        self._decoders, self._builder_kwargs, self._read_only = decoders, dict(tfds_builder_kwargs or {}), read_only
        super().__init__(self._parts, caching_permitted=caching_permitted)

    @property
    def splits(self) -> Sequence[str]:
        """The names of its splits; asks the data set where none were given."""
        return self._splits or tuple(self._builder(None).info.splits)

    @property
    def supports_arbitrary_sharding(self) -> bool:
        """No: a shard has whole files."""
        return False

    def _builder(self, split: str | None) -> Any:
        part = self._parts.get(split) if split else None
        if isinstance(part, TfdsSplit):
            return _builder(part.dataset, part.data_dir, ())
        return _builder(self.tfds_name, self.tfds_data_dir, tuple(sorted(self._builder_kwargs.items())))

    def _part(self, split: str) -> str | None:
        part = self._parts.get(split, split)
        return part.split if isinstance(part, TfdsSplit) else part

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
        """Gives the `tf.data.Dataset` of a split, or of one shard of its files; prepares the data set first if it must and may."""
        import tensorflow as tf
        import tensorflow_datasets as tfds

        builder = self._builder(split)
        if not self._read_only:
            builder.download_and_prepare()
        config = tfds.ReadConfig(shuffle_seed=seed or 0, skip_prefetch=True)
        if shard_info:
            config.input_context = tf.distribute.InputContext(num_input_pipelines=shard_info.num_shards, input_pipeline_id=shard_info.index)
        return builder.as_dataset(split=self._part(split), shuffle_files=shuffle, read_config=config, decoders=self._decoders)

    def list_shards(self, split: str) -> Sequence[str]:
        """Lists the files of a split."""
        files = self._builder(split).info.splits[self._part(split)].file_instructions
        return [file["filename"] if isinstance(file, dict) else file.filename for file in files]

    def num_input_examples(self, split: str) -> int | None:
        """Counts the examples of a split, as the data set tells; None where it does not."""
        return int(self._builder(split).info.splits[self._part(split)].num_examples) or None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(tfds_name={self.tfds_name}, tfds_data_dir={self.tfds_data_dir}, splits={self._parts})"


@functools.lru_cache(maxsize=256)
def _builder(name: str | None, data_dir: str | None, arguments: tuple[tuple[str, Any], ...]) -> Any:
    """Gives the builder of a data set: made once, because it reads several files."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ConfigError(
            f"the data set {name or data_dir} needs tensorflow_datasets, which is not installed: pip install 'tokenreel[tfds]'"
        ) from error
    if name:
        return tfds.builder(name, data_dir=data_dir, **dict(arguments))
    return tfds.builder_from_directory(data_dir)
