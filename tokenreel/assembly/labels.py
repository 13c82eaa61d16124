"""Labels of documents, laid out as their tokens are.

Tested in tests/pipelines/test_labels.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.assembly import document_fields
from tokenreel.assembly.examples import ExampleChunk
from tokenreel.format import token_spans
from tokenreel.format.labels import NONE, Label
from tokenreel.layouts import filling
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.staging import labels as told

Arrays = dict[str, npt.NDArray[np.int32]]


def lay_out(order: DocumentOrder, chunk: ExampleChunk) -> Arrays:
    """Gives the labels of a chunk of examples by the features that hold them.

    Returns:
      int32 [n] for classes, [n, seq_len + overlap] for entities, as `format.labels` says; nothing where no source has labels.
    """
    found = order.recipe.labels
    if not found:
        return {}
    layout = chunk.layout
    used, document = np.unique(layout.document, return_inverse=True)
    fields = document_fields.read(order.files, chunk.stage[used], chunk.row[used])
    arrays: Arrays = {}
    for label in found:
        values = [kept.get(label.field) for kept in fields]
        if label.by_token:
            width = order.recipe.packing.seq_len + order.recipe.packing.overlap
            tags, begins = _tags(chunk, used, values, label), ragged.offsets_of(chunk.lengths)[:-1]
            arrays[label.feature] = filling.fill(tags, begins, layout, width, NONE)[0]
        else:
            classes = np.array([told.class_of(value, label.classes) for value in values], dtype=np.int32)
            arrays[label.feature] = np.full(layout.num_examples, NONE, dtype=np.int32)
            arrays[label.feature][layout.example] = classes[document]
    return arrays


def _tags(chunk: ExampleChunk, used: npt.NDArray[np.int64], values: Sequence[Any], label: Label) -> npt.NDArray[np.int32]:
    """Labels the tokens of the documents of a chunk, end to end: int32 [num_tokens]; of those that are not used, -1."""
    assert chunk.token_spans is not None, "make_recipe has asked for them"
    offsets = ragged.offsets_of(chunk.lengths)
    tags = np.full(int(offsets[-1]), NONE, dtype=np.int32)
    for at, value in zip(used.tolist(), values, strict=True):
        begins, ends = token_spans.unpack(chunk.token_spans[offsets[at] : offsets[at + 1]])
        # What a document of this length may have was checked when it was read.
        entities = told.entities_of(value, label.classes, np.iinfo(np.int32).max)
        if entities is not None:
            tags[offsets[at] : offsets[at + 1]] = told.tags_of(entities, begins, ends)
    return tags


def count(arrays: Arrays, labels: Sequence[Label]) -> dict[str, dict[str, Any]]:
    """Counts the classes of some examples, by feature: examples of each class and `unlabelled` ones, or entities that begin in them."""
    counts: dict[str, dict[str, Any]] = {}
    for label in labels:
        values = arrays[label.feature]
        numbers = np.arange(len(label.classes))
        by_number = np.bincount(values[values >= 0], minlength=2 * len(numbers) + 1)[2 * numbers + 1 if label.by_token else numbers]
        counts[label.feature] = {"classes": dict(zip(label.classes, by_number.tolist(), strict=True))}
        if not label.by_token:
            counts[label.feature]["unlabelled"] = int(np.count_nonzero(values == NONE))
    return counts
