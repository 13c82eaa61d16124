"""The names and dtypes that a trainer's code has for the fields of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.loaders.examples import Examples
from tokenreel.loaders.fields import Arrays


class Conversion:
    """Gives the fields of a batch other names and dtypes, the last thing that happens to it.

    Args:
      rename: the wanted name of each field that is to have another one.
      dtypes: the wanted dtype of each field that is to have another one, by the field's own name; anything that `np.dtype` takes.

    Raises:
      ConfigError: two fields would have one name, or there is no such dtype.
    """

    def __init__(self, rename: Mapping[str, str] | None = None, dtypes: Mapping[str, Any] | None = None) -> None:
        self._rename = dict(rename or {})
        names = list(self._rename.values())
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"rename gives {twice[0]!r} to {' and '.join(old for old, new in self._rename.items() if new == twice[0])}")
        self._dtypes: dict[str, np.dtype[Any]] = {}
        for name, wanted in (dtypes or {}).items():
            try:
                self._dtypes[name] = np.dtype(wanted)
            except TypeError as error:
                raise ConfigError(f"dtypes: NumPy has no dtype {wanted!r} for {name}") from error
        self.changes = bool(self._rename or self._dtypes)

    def check(self, names: Sequence[str]) -> None:
        """Checks that a batch with these fields can be converted.

        Raises:
          ConfigError: a field that is named is not among them, or a new name is that of another field.
        """
        for what, named in (("rename", self._rename), ("dtypes", self._dtypes)):
            if unknown := [name for name in named if name not in names]:
                raise ConfigError(f"{what} names {unknown[0]!r}, which a batch does not hold; it holds {', '.join(names)}")
        kept = [name for name in names if name not in self._rename]
        if taken := [new for new in self._rename.values() if new in kept]:
            raise ConfigError(
                f"rename gives a field the name {taken[0]!r}, which another one has: rename that too, or leave it out of features"
            )

    def __call__(self, batch: Arrays) -> Arrays:
        """Converts {field: values}.

        Raises:
          ConfigError: see `check`; or an integer does not fit the wanted dtype.
        """
        if not self.changes:
            return batch
        self.check(list(batch))  # here, because without `features` nobody knows the fields before there is a batch
        return {self.name(name): self._cast(name, values) for name, values in batch.items()}

    def __repr__(self) -> str:
        dtypes = {name: str(dtype) for name, dtype in self._dtypes.items()}
        return f"Conversion({self._rename}, {dtypes})"

    def name(self, field: str) -> str:
        """Gives the name that a field is to have."""
        return self._rename.get(field, field)

    def dtype(self, field: str) -> np.dtype[Any] | None:
        """Gives the dtype that a field is to have; None for its own."""
        return self._dtypes.get(field)

    def _cast(self, name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        wanted = self.dtype(name) or values.dtype
        if values.size and values.dtype.kind in "iu" and wanted.kind in "iu" and not np.can_cast(values.dtype, wanted):
            limits = np.iinfo(wanted)
            if values.min() < limits.min or values.max() > limits.max:
                raise ConfigError(f"dtypes: {name} holds {values.min()} to {values.max()}, which {wanted} cannot hold")
        return values.astype(wanted, copy=False)


class ConvertedExamples:
    """Examples with chosen or derived features, under the names and in the dtypes that are wanted, by number.

    Args:
      dataset: an opened split.
      features: as in `Dataset.take`.
      rename: see `Conversion`.
      dtypes: see `Conversion`.

    Raises:
      ConfigError: a field cannot have the name or dtype that is wanted.
    """

    def __init__(
        self,
        dataset: Examples,
        features: Sequence[str] | None = None,
        *,
        rename: Mapping[str, str] | None = None,
        dtypes: Mapping[str, Any] | None = None,
    ) -> None:
        self.dataset, self.features, self._convert = dataset, features, Conversion(rename, dtypes)
        self._convert.check(dataset.features if features is None else features)

    def __len__(self) -> int:
        return len(self.dataset)

    def __repr__(self) -> str:
        # Grain compares it when it restores an iterator: the data, not the place it lies in.
        changed = f", {self._convert}" if self._convert.changes else ""
        return f"{type(self).__name__}({self.dataset.fingerprint}, {self.features}{changed})"

    def __getitem__(self, example: int) -> Any:
        return self.__getitems__([example])[0]

    def __getitems__(self, examples: Sequence[int]) -> list[Any]:
        """Reads some examples at once."""
        batch = self._batch(examples)
        return [{name: values[row] for name, values in batch.items()} for row in range(len(examples))]

    def _batch(self, examples: Sequence[int]) -> dict[str, Any]:
        """Reads examples as {field: [k, ...]}; an adapter gives its framework's own arrays."""
        return self._convert(self.dataset.take(examples, self.features))
