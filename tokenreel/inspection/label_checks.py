"""The checks of labels: what the records say of classes and entities, against each other and against the provenance tables.

Nothing is taken from what wrote them but what the numbers mean (`format.labels`).

Tested in tests/pipelines/test_labels.py and tests/test_reseal.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.format import labels, schema
from tokenreel.format.labels import Label
from tokenreel.format.manifest import Manifest
from tokenreel.inspection.record_checks import Place, Records, and_more, stretches_of_rows


def of(manifest: Manifest) -> tuple[Label, ...]:
    """Lists the labels that the records of a dataset hold."""
    stored = {feature.name for feature in manifest.features}
    sources = manifest.config.get("sources", ())
    return tuple(
        label for label in labels.of_sources(source for source in sources if isinstance(source, Mapping)) if label.feature in stored
    )


def check_values(records: Records) -> Iterator[str]:
    """Checks that labels have names, stand where text stands, and that an entity goes on behind its beginning."""
    for label in of(records.place.manifest):
        values = records.arrays[label.feature].reshape(len(records), -1).astype(np.int64)
        problems = [((values < labels.NONE) | (values >= len(label.names)), "which has no name")]
        if label.by_token:
            problems += [
                (_nowhere(records) & (values != labels.NONE), "though no text stands there"),
                (_begun_nowhere(records, values), _IN),
            ]
        for wrong, what in problems:
            for stretch, column in stretches_of_rows(wrong):
                at = int(stretch[0])
                place = f" at position {column:,}" if label.by_token else ""
                yield f"{records.where(at)}: {label.feature} is {int(values[at, column]):,}{place}, {what}{and_more(stretch)}"


_IN = "inside of an entity that has no beginning"


def _nowhere(records: Records) -> npt.NDArray[np.bool_]:
    """Marks the positions of no text: bool [n, L]."""
    nowhere = records.arrays[schema.TOKEN_BEGINS] < 0
    return nowhere if records.padding is None else nowhere | records.padding


def _begun_nowhere(records: Records, values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Marks the positions inside of an entity that neither begins nor goes on before them in the same segment: bool [n, L]."""
    wrong = np.zeros(values.shape, dtype=bool)
    before = values[:, :-1] + values[:, :-1] % 2  # the number that goes on with it
    wrong[:, 1:] = (values[:, 1:] > 0) & (values[:, 1:] % 2 == 0) & (before != values[:, 1:]) & ~records.starts[:, 1:]
    if records.place.align > 1:  # behind a gap a segment goes on with a document, and no bit says so
        wrong[:, :: records.place.align] = False
    return wrong


def count(records: Records) -> dict[str, Any]:
    """Counts what `statistics.json` has of the labels of some records."""
    found: dict[str, Any] = {}
    for label in of(records.place.manifest):
        values = records.arrays[label.feature].astype(np.int64)
        own = [2 * number + 1 if label.by_token else number for number in range(len(label.classes))]
        counts = {name: int(np.count_nonzero(values == number)) for name, number in zip(label.classes, own, strict=True)}
        found[label.feature] = {
            "classes": counts,
            **({} if label.by_token else {"unlabelled": int(np.count_nonzero(values == labels.NONE))}),
        }
    return found


class HeldLabels:
    """The labels of a shard, for comparison with its table; gathered while its records are read."""

    def __init__(self, place: Place) -> None:
        """Takes the shard."""
        self._place = place
        self.labels = of(place.manifest)
        self._values: dict[str, list[npt.NDArray[np.int64]]] = {label.feature: [] for label in self.labels}
        self._spans: list[npt.NDArray[np.int64]] = []

    def add(self, records: Records) -> None:
        """Adds the next records of the shard."""
        for label in self.labels:
            self._values[label.feature].append(records.arrays[label.feature].astype(np.int64))
        if any(label.by_token for label in self.labels):
            self._spans.append(np.stack([records.arrays[schema.TOKEN_BEGINS], records.arrays[schema.TOKEN_ENDS]], axis=-1).astype(np.int64))

    def check(
        self,
        name: str,
        example: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        length: npt.NDArray[np.int64],
        fields: Mapping[str, Sequence[str | None]],
    ) -> Iterator[str]:
        """Compares the labels with what the table has of the documents' fields, and yields the first difference of each.

        Args:
          name: of the table.
          example: int64 [S] the record of each segment, by its number in the shard.
          places: int64 [S] its first position there.
          length: int64 [S] its tokens.
          fields: by the name of the field, [S] its text; None where a document has none.
        """
        for label in self.labels:
            if label.field not in fields:
                yield f"{name}: has no column of the field {label.field!r}, which the records hold as {label.feature}"
                continue
            told, values = fields[label.field], np.concatenate(self._values[label.feature])
            known: dict[str | None, Any] = {}
            for row, (at, first, size) in enumerate(zip(example.tolist(), places.tolist(), length.tolist(), strict=True)):
                text = told[row]
                if text not in known:
                    known = {text: _read(text, label)}
                wrong = _differs(label, known[text], values[at], first, size, None if not self._spans else self._all_spans(at))
                if wrong:
                    yield f"{name}: row {row:,}: the document of example {at + self._place.first:,} {wrong}"
                    break

    def _all_spans(self, at: int) -> npt.NDArray[np.int64]:
        if len(self._spans) > 1:
            self._spans = [np.concatenate(self._spans)]
        spans: npt.NDArray[np.int64] = self._spans[0][at]
        return spans


def _read(text: str | None, label: Label) -> Any:
    """Reads a field as the table has it: a class's number, entities as [start, end, class], or None for no label.

    Raises nothing: what cannot be read is "unreadable".
    """
    try:
        if not label.by_token:
            return labels.NONE if text is None else label.classes.index(text)
        if text is None or not text.strip():
            return None
        entities: list[Any] = json.loads(text)
        entities = [[each[name] for name in ("start", "end", "label")] if isinstance(each, dict) else each for each in entities]
        return sorted((int(start), int(end), label.classes.index(_name(kind))) for start, end, kind in entities)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "unreadable"


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _differs(
    label: Label, wanted: Any, values: npt.NDArray[np.int64], first: int, size: int, spans: npt.NDArray[np.int64] | None
) -> str | None:
    """Says what a record has in place of what the table wants for a segment."""
    if isinstance(wanted, str):
        return f"has a field {label.field!r} that is no label"
    if not label.by_token:
        return None if wanted == int(values) else f"has the class {wanted}, the record {int(values)} in {label.feature}"
    assert spans is not None
    own, (begins, ends) = values[first : first + size], spans[first : first + size].T
    expected = np.where(begins < 0, labels.NONE, labels.OUTSIDE if wanted is not None else labels.NONE)
    for start, end, kind in wanted or ():
        inside = (begins >= 0) & (begins < end) & (np.maximum(ends, begins + 1) > start) & (expected == labels.OUTSIDE)
        expected[inside] = 2 * kind + 2
    # Where an entity begins depends on what stands before the segment; everywhere else both say the same.
    heads = (own > 0) & (own % 2 == 1)
    missing = (expected > 0) & ~heads & (np.append(labels.NONE, expected[:-1]) != expected)
    if (own + heads != expected).any() or missing[1:].any():
        return f"has other entities in {label.field!r} than {label.feature} of the record"
    return None
