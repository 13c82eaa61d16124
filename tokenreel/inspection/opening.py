"""Opens what stands beside the shards: the vocabulary and the provenance.

Tested in tests/tokenreel/commands/test_inspect.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from tokenreel.errors import ManifestError, TokenreelError, VocabularyError
from tokenreel.format import naming, provenance
from tokenreel.format.manifest import Manifest
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.loading import open_stored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Says where one segment of an example came from, by the provenance tables.

    Attributes:
      document: its id.
      source: the body of text that it belongs to.
      start: the segment's first token in the document.
      length: tokens in the segment.
      metadata: the fields that were kept.
    """

    document: str
    source: str
    start: int
    length: int
    metadata: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


def read_origins(directory: str, manifest: Manifest, split: str, index: int) -> list[Origin]:
    """Looks up where the segments of an example came from.

    Raises:
      ManifestError: the dataset was built without provenance, or the table is damaged.
      TokenreelError: pyarrow is missing.
    """
    shards = manifest.splits[split].shards
    name = naming.provenance(split, index // shards[0].records, len(shards))
    try:
        rows = provenance.read(directory, manifest, name, column=provenance.EXAMPLE, values=[index]).to_pylist()
    except ModuleNotFoundError as error:
        raise TokenreelError("--provenance reads Parquet tables and needs pyarrow: pip install pyarrow") from error
    except FileNotFoundError as error:
        raise ManifestError(f"{error} A dataset built with shards.provenance: false has none: leave out --provenance.") from None
    return [
        Origin(
            document=row[provenance.DOC_ID],
            source=row[provenance.SOURCE],
            start=row[provenance.DOC_TOKEN_START],
            length=row[provenance.LENGTH],
            metadata=provenance.metadata(row),
        )
        for row in sorted(rows, key=lambda row: row[provenance.SEGMENT])
    ]


def open_vocabulary(directory: str, manifest: Manifest) -> Vocabulary:
    """Loads the vocabulary that made a dataset, from its copy there.

    Raises:
      ManifestError: the copy is missing, or not what was written.
      VocabularyError: it cannot be read, or a package is missing.
    """
    info = manifest.vocabulary
    try:
        return open_stored(directory, manifest)
    except ModuleNotFoundError as error:
        raise VocabularyError(
            f"decoding {info.kind} tokens needs a package that is not installed ({error}): pip install {error.name}"
        ) from error
