"""What gives examples, and the registries that know it by name.

Tested in tests/tokenreel/tasks/test_task.py.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import KeysView, Mapping, Sequence
from typing import Any, ClassVar

Lengths = Mapping[str, "int | Sequence[int] | None"]
"""The longest that each feature may be; one number for its first axis, or one for each axis."""


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """One of several equal shares of a split.

    Attributes:
      index: of the share, from 0.
      num_shards: how many shares there are.
    """

    index: int
    num_shards: int


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """Where in the code something was defined."""

    file_path: str | None = None
    line_number: int | None = None


class DatasetProviderBase(abc.ABC):
    """Gives the examples of its splits."""

    @property
    @abc.abstractmethod
    def output_features(self) -> Mapping[str, Any]:
        """The features that every example has, by name."""

    @property
    @abc.abstractmethod
    def splits(self) -> Sequence[str]:
        """The names of its splits."""

    @abc.abstractmethod
    def get_dataset(
        self,
        sequence_length: Lengths | None = None,
        split: str = "train",
        use_cached: bool = False,
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: ShardInfo | None = None,
        num_epochs: int | None = 1,
    ) -> Any:
        """Gives the examples of a split."""

    @abc.abstractmethod
    def num_input_examples(self, split: str) -> int | None:
        """Counts the examples before any step, where that is known."""


class DatasetProviderRegistry:
    """Providers by name, for a whole process. Nothing needs to stand here: an object can be used as it is."""

    _REGISTRY: ClassVar[dict[str, Any]] = {}
    _PROVIDER_TYPE: ClassVar[type] = DatasetProviderBase

    @classmethod
    def add_provider(cls, name: str, provider: Any) -> None:
        """Registers an object.

        Raises:
          ValueError: the name is taken, or the object is of another kind.
        """
        if name in cls._REGISTRY:
            raise ValueError(
                f"Attempting to register duplicate provider: {name}. Choose another name, or call {cls.__name__}.remove({name!r}) before."
            )
        if not isinstance(provider, cls._PROVIDER_TYPE):
            cls._refuse(type(provider).__name__)
        cls._REGISTRY[name] = provider

    @classmethod
    def _refuse(cls, kind: Any) -> None:
        expected = cls._PROVIDER_TYPE
        raise ValueError(f"Attempting to register a class of an invalid type. Expecting instance of {expected}, got {kind}")

    @classmethod
    def remove(cls, name: str) -> None:
        """Forgets a provider, if it is there."""
        cls._REGISTRY.pop(name, None)

    @classmethod
    def get(cls, name: str) -> Any:
        """Gives a provider.

        Raises:
          ValueError: there is none of this name.
        """
        if name not in cls._REGISTRY:
            raise ValueError(f"Provider name not registered: {name}")
        return cls._REGISTRY[name]

    @classmethod
    def names(cls) -> KeysView[str]:
        """Gives the names of all providers."""
        return cls._REGISTRY.keys()

    @classmethod
    def reset(cls) -> None:
        """Forgets all providers."""
        cls._REGISTRY = {}

    @classmethod
    def get_dataset(
        cls,
        name: str,
        sequence_length: Lengths | None,
        split: str,
        use_cached: bool = False,
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: ShardInfo | None = None,
        num_epochs: int | None = 1,
    ) -> Any:
        """Gives the examples of a split of a provider."""
        return cls.get(name).get_dataset(
            sequence_length=sequence_length,
            split=split,
            use_cached=use_cached,
            shuffle=shuffle,
            seed=seed,
            shard_info=shard_info,
            num_epochs=num_epochs,
        )
