"""What a converter takes and gives: the dtype and rank of each feature, and the checks of names, dtypes, ranks and lengths.

Tested in tests/tokenreel/tasks/feature_converters/test_base.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks.features import numpy_dtype

Length: TypeAlias = int | Sequence[int]
"""Positions of a feature, or for more than one axis the size of each."""

Lengths: TypeAlias = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """What a feature of an example is.

    Attributes:
      dtype: NumPy's; TensorFlow's and strings are taken as well.
      rank: axes of one example; 0 is a number or a text.
      sequence_dim: the axis that the feature's length counts.
    """

    dtype: Any
    rank: int = 1
    sequence_dim: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", numpy_dtype(self.dtype))


Specs: TypeAlias = Mapping[str, FeatureSpec]


def check_same_names(expected: Iterable[str], actual: Iterable[str], expected_source: str, actual_source: str) -> None:
    """Compares the names of features, one for one.

    Raises:
      ConfigError: some are too many, or missing.
    """
    extra, missing = set(actual) - set(expected), set(expected) - set(actual)
    if extra:
        raise ConfigError(
            f"The {actual_source} contains extra features not specified in the {expected_source}: {extra}. Leave them out, or give them as "
            "passthrough_features."
        )
    if missing:
        raise ConfigError(
            f"The {actual_source} is missing features specified in the {expected_source}: {missing}. Give each of "
            f"{', '.join(sorted(expected))}."
        )


def check_kind(name: str, spec: FeatureSpec, dtype: np.dtype[Any], rank: int, stage: str) -> None:
    """Compares the dtype and rank of a feature with what is expected.

    Raises:
      ConfigError: one differs.
    """
    if dtype != spec.dtype and not (spec.dtype == object and dtype.kind in "SUO"):
        raise ConfigError(
            f"Dataset has incorrect type for feature '{name}' during {stage} validation: Got {dtype.name}, expected {spec.dtype.name}. "
            "Cast it in the task's last preprocessor, or declare the dtype in TASK_FEATURES of a converter of your own."
        )
    if rank != spec.rank:
        raise ConfigError(
            f"Dataset has incorrect rank for feature '{name}' during {stage} validation: Got {rank}, expected {spec.rank}. Declare the "
            "rank in TASK_FEATURES of a converter of your own."
        )


def check_there(name: str, there: Iterable[str], stage: str) -> None:
    """Checks that a dataset has a feature.

    Raises:
      ConfigError: it has not.
    """
    if name not in (there := list(there)):
        raise ConfigError(
            f"Dataset is missing an expected feature during {stage} validation: '{name}'. Received {', '.join(sorted(there)) or 'none'}. "
            "Rename one of those to it (preprocessors.rekey), or use the converter that goes without it."
        )


def too_long(name: str, length: Length, stage: str) -> ConfigError:
    """Makes the error of an example that is longer than the length given."""
    return ConfigError(
        f"Feature '{name}' has length not less than or equal to the expected length of {length} during {stage} validation. Give a larger "
        "length, let the task trim (trim_output_features=True), or trim here: apply_length_check=False."
    )
