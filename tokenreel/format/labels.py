"""Labels of documents in the records: classes, and entities token by token. What the fields are called, and what their numbers mean.

A class is one number an example, an index into the class names, -1 for a document without. Entities are one number a position: 0 outside of
any, `2 k + 1` where an entity of class k begins, `2 k + 2` inside of it, -1 where no text of a labelled document stands (padding, bos, eos,
documents without the field). Names stand in the settings of the sources, which the manifest holds.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenreel.errors import ConfigError

NONE = -1
OUTSIDE = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """A labelled field of the sources.

    Attributes:
      field: its name in the sources.
      classes: names of the classes.
      by_token: whether the records hold it token by token.
    """

    field: str
    classes: tuple[str, ...]
    by_token: bool

    @property
    def feature(self) -> str:
        """Name of the feature in the records.

        >>> Label(field="meta.topic", classes=("a",), by_token=False).feature
        'label_meta_topic'
        """
        return "label_" + re.sub(r"\W", "_", self.field)

    @property
    def names(self) -> tuple[str, ...]:
        """What the numbers from 0 on mean.

        >>> Label(field="entities", classes=("PER",), by_token=True).names
        ('O', 'B-PER', 'I-PER')
        """
        tags = tuple(f"{part}-{name}" for name in self.classes for part in "BI")
        return ("O", *tags) if self.by_token else self.classes


def of_sources(sources: Iterable[Mapping[str, Any]]) -> tuple[Label, ...]:
    """Lists the labels of a dataset, sorted by their features.

    Args:
      sources: of each source, `label_fields` and `entity_fields`, where it has them; as in the manifest's `config`.

    Raises:
      ConfigError: sources do not agree, or two fields would have one name.
    """
    found: dict[str, Label] = {}
    for source in sources:
        for setting, by_token in (("label_fields", False), ("entity_fields", True)):
            for field, classes in (source.get(setting) or {}).items():
                label = Label(field=field, classes=tuple(classes), by_token=by_token)
                if found.setdefault(label.feature, label) != label:
                    other = found[label.feature].field
                    raise ConfigError(
                        f"sources: {field!r} and {other!r} are both {label.feature} in the records, with other classes or of another kind. "
                        "All sources name the same classes of a field, in the same order."
                    )
    return tuple(found[name] for name in sorted(found))


def names_of(sources: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Says what the numbers of each feature with labels mean, of sources as `of_sources` takes them."""
    return {label.feature: label.names for label in of_sources(sources)}


def check(setting: str, field: str, classes: Sequence[str]) -> None:
    """Checks the classes of a field.

    Raises:
      ConfigError: there are none, or one comes twice.
    """
    if not field or not classes or len(set(classes)) != len(classes) or not all(classes):
        raise ConfigError(
            f"sources.{setting}.{field} lists the names of its classes, each once, such as [World, Sports], got {list(classes)}"
        )
