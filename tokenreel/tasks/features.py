"""What a task promises about each of its output features."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Feature:
    """A feature that every example of a task has once its steps are done.

    Nothing here is applied by itself: steps such as `tokenize` and `append_eos` read it, and `Task.get_dataset` checks what comes out.

    Attributes:
      vocabulary: turns its text into ids.
      add_eos: whether `append_eos` ends it with the vocabulary's EOS.
      required: whether a task whose steps do not give it is refused.
      dtype: of its values; TensorFlow's types and names of types are accepted, a NumPy type is held.
      rank: number of its axes.
    """

    vocabulary: Any
    add_eos: bool = True
    required: bool = True
    dtype: Any = np.int32
    rank: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", numpy_dtype(self.dtype))
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 0:
            raise ConfigError(f"a feature's rank must be a whole number, 0 or more, got {self.rank!r}")


def _no_vocabulary() -> Any:
    return importlib.import_module("tokenreel.tasks.vocabularies").PassThroughVocabulary(size=0)


@dataclasses.dataclass(frozen=True)
class ContinuousFeature(Feature):
    """A feature of numbers that no vocabulary made, such as audio frames or pixels."""

    vocabulary: Any = dataclasses.field(default_factory=_no_vocabulary)
    add_eos: bool = False


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """Gives the NumPy type of `tf.int32`, `np.int32`, `"int32"` and the like; text (`tf.string`, `"string"`, `bytes`) is `object`.

    Raises:
      ConfigError: it is no type of values.

    >>> numpy_dtype("int32"), numpy_dtype(np.float32), numpy_dtype("string")
    (dtype('int32'), dtype('float32'), dtype('O'))
    """
    of_tensorflow = getattr(dtype, "as_numpy_dtype", None)
    if of_tensorflow is not None:
        dtype = of_tensorflow
    if dtype in ("string", str, bytes):
        return np.dtype(object)
    if dtype is None:
        raise ConfigError("a feature needs a dtype, got None: give np.int32, tf.int32 or 'int32'")
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise ConfigError(f"a feature's dtype must be a type such as np.int32, tf.int32 or 'int32', got {dtype!r}") from error
    return found
