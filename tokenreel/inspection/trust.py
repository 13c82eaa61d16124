"""Lists what `tokenreel verify` takes on trust: numbers that say something which a dataset does not hold.

Tested in tests/test_reseal.py, which edits every number of a dataset: what is not found has to be listed here.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence

from tokenreel.format import naming
from tokenreel.format.manifest import Manifest, holds_task_rows
from tokenreel.inspection.document_checks import PAIRS

_COMPARED = (
    "config.packing.seq_len",
    "config.packing.overlap",
    "config.variants",
    "config.vocabulary.options",
)
"""Settings that decide sizes, which the records have."""


@dataclasses.dataclass(frozen=True)
class Trusted:
    """Some numbers that cannot be recounted.

    Attributes:
      what: says which, for people.
      leaves: patterns of those that are not compared with anything, as `FILE: dotted.path`; none where each has to agree with others.
    """

    what: str
    leaves: tuple[str, ...] = ()

    def covers(self, leaf: str) -> bool:
        """Says whether an edit of this number alone may go unseen."""
        return any(fnmatch.fnmatchcase(leaf, pattern) for pattern in self.leaves)


def taken_on_trust(manifest: Manifest) -> list[Trusted]:
    """Lists what is taken on trust of a dataset whose files are as they were written."""
    if holds_task_rows(manifest):
        return [
            Trusted(
                "the task's examples and their values (task_examples, values, density)",
                (f"{naming.STATISTICS}: splits.*", f"{naming.MANIFEST}: totals.task_examples"),
            ),
            Trusted(
                "the seed, the settings, and what the rows were made of (config)",
                (f"{naming.MANIFEST}: seed", f"{naming.MANIFEST}: config.*"),
            ),
        ]
    statistics, tables = f"{naming.STATISTICS}: ", any(info.file.startswith("provenance/") for info in manifest.files)
    found = [
        Trusted("documents filtered, duplicate, not sampled and repeated, characters, bytes: compared with each other alone"),
        Trusted(
            "what was taken out of documents that stay (modified, lines_removed_by_reason, characters_removed)",
            tuple(f"{statistics}sources.*.{field}" for field in ("modified", "lines_removed_by_reason.*", "characters_removed")),
        ),
        Trusted("the number and size of the input files (totals.inputs)", (f"{naming.MANIFEST}: totals.inputs.*",)),
        Trusted(
            "the seed and the settings (config), but for packing.seq_len, packing.overlap, variants and vocabulary.options",
            (f"{naming.MANIFEST}: seed", f"{naming.MANIFEST}: config.*"),
        ),
    ]
    mode = manifest.config.get("packing", {}).get("mode")
    if not tables:
        what = "without provenance, documents and their lengths: compared with each other alone; cut documents, tokens of dropped documents"
        found.append(Trusted(what, tuple(f"{statistics}splits.*.{field}" for field in ("cut_documents", "dropped_document_tokens"))))
        return found
    dropped = manifest.totals.get("documents_dropped", 0)
    if mode == PAIRS or (mode == "full_sentences" and manifest.totals.get("tokens_dropped", 0)):
        what = "where in its document a segment begins (doc_token_start), but for how many tokens all leave out"
        found.append(Trusted(what, ("provenance: doc_token_start",)))
    if dropped and mode != "wrap":
        found.append(
            Trusted("the number of a document (document), where documents without a segment have others", ("provenance: document",))
        )
    if dropped and any(source.get("epochs", 1) > 1 for source in manifest.config.get("sources", ())):
        found.append(Trusted("which repeat of a document a segment is from (copy), where repeats were dropped", ("provenance: copy",)))
    return found


def is_trusted(leaf: str, trusted: Sequence[Trusted]) -> bool:
    """Says whether an edit of a number alone may go unseen: `FILE: dotted.path`."""
    name = leaf.removeprefix(f"{naming.MANIFEST}: ")
    return not name.startswith(_COMPARED) and any(each.covers(leaf) for each in trusted)
