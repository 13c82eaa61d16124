"""What documents are labelled with, as their sources tell it: the name of a class, and entities as ranges of characters.

A class is its name; of other values (3, true) the JSON is the name. Entities are a list of objects `{"start": 0, "end": 5, "label": "PER"}`
or of `[0, 5, "PER"]`, in characters of the text, `end` not included; where fields are text (csv), the JSON of such a list. They must not
overlap: a token has one label.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.config.corpus import SourceConfig
from tokenreel.format.labels import NONE
from tokenreel.sources.documents import Documents
from tokenreel.wording import brief

REASON = "bad_label"


def class_of(value: Any, classes: Sequence[str]) -> int:
    """Gives the number of a class; -1 for no value.

    Raises:
      ValueError: there is no such class; says what there is.

    >>> class_of("b", ["a", "b"]), class_of(3, ["3"]), class_of(None, ["a"])
    (1, 0, -1)
    """
    if value is None:
        return NONE
    name = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    try:
        return classes.index(name)
    except ValueError:
        raise ValueError(f"{brief(name)} is none of the classes {brief(list(classes))}") from None


def entities_of(value: Any, classes: Sequence[str], characters: int) -> npt.NDArray[np.int64] | None:
    """Gives the entities of a document in the order of its text: int64 [k, 3] start, end and class; None for no value.

    Args:
      value: of the field.
      classes: names of the classes.
      characters: in the document.

    Raises:
      ValueError: the value is no list of entities, one lies outside of the text, two overlap, or a class is unknown.

    >>> entities_of([[6, 9, "LOC"], {"start": 0, "end": 5, "label": "PER"}], ["LOC", "PER"], 9).tolist()
    [[0, 5, 1], [6, 9, 0]]
    """
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    if value is None:
        return None
    if not isinstance(value, list):
        raise ValueError(f"no list of entities: {brief(value)}")
    found = []
    for entity in value:
        start, end, label = (
            [entity.get(name) for name in ("start", "end", "label")]
            if isinstance(entity, dict)
            else entity
            if isinstance(entity, list) and len(entity) == 3
            else [None] * 3
        )
        if type(start) is not int or type(end) is not int or label is None:
            raise ValueError(f"no entity with start, end and label: {brief(entity)}")
        if not 0 <= start < end <= characters:
            raise ValueError(f"an entity from character {start:,} to {end:,}; the text has {characters:,}")
        found.append((start, end, class_of(label, classes)))
    entities = np.array(sorted(found), dtype=np.int64).reshape(-1, 3)
    if (overlapping := np.flatnonzero(entities[1:, 0] < entities[:-1, 1])).size:
        at = int(overlapping[0])
        raise ValueError(f"the entities from character {entities[at, 0]:,} and {entities[at + 1, 0]:,} overlap: a token has one label")
    return entities


def find_problems(
    documents: Documents, kept: npt.NDArray[np.int64], characters: npt.NDArray[np.int64], source: SourceConfig
) -> dict[int, tuple[str, str]]:
    """Finds the documents whose labels cannot be used.

    Args:
      documents: n documents of the source.
      kept: int64 [k] numbers of those to look at.
      characters: int64 [n] of each document.
      source: the settings.

    Returns:
      by the number of the document, one word for counting and what is wrong.
    """
    if not (source.label_fields or source.entity_fields) or documents.metadata is None:
        return {}
    problems = {}
    for i in kept.tolist():
        fields = json.loads(documents.metadata[i])
        field = ""
        try:
            for field, classes in source.label_fields.items():
                class_of(fields.get(field), classes)
            for field, classes in source.entity_fields.items():
                entities_of(fields.get(field), classes, int(characters[i]))
        except (ValueError, RecursionError) as error:
            problems[i] = (REASON, f"field {field!r}: {error}")
    return problems


def tags_of(entities: npt.NDArray[np.int64], begins: npt.NDArray[np.integer], ends: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Labels the tokens of a document.

    A token belongs to the first entity of which it holds a character: spans need not agree with words.

    Args:
      entities: int64 [k, 3] as `entities_of` gives them.
      begins: int [n] first character of each token; -1 for tokens that stand for no text.
      ends: int [n] the character behind the last.

    Returns:
      int32 [n] as in `format.labels`.

    >>> entities = np.array([[0, 5, 1], [6, 9, 0]])
    >>> tags_of(entities, np.array([-1, 0, 3, 5, 6, -1]), np.array([-1, 3, 5, 6, 9, -1])).tolist()
    [-1, 3, 4, 0, 1, -1]
    """
    tags = np.where(begins < 0, NONE, 0).astype(np.int32)
    if not len(entities):
        return tags
    # The first entity that ends behind a token's first character; the token holds some of it if it ends behind the entity's first one.
    # Tokens of a part of a character have empty spans, and count as that character.
    which = np.searchsorted(entities[:, 1], begins, side="right")
    held = (begins >= 0) & (which < len(entities))
    held[held] = entities[which[held], 0] < np.maximum(ends, begins + 1)[held]
    at = np.flatnonzero(held)
    first = np.append(True, which[at][1:] != which[at][:-1])[: len(at)]
    tags[at] = 2 * entities[which[at], 2] + np.where(first, 1, 2)
    return tags
