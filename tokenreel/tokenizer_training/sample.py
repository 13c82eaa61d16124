"""Finds a sample of documents that depends on the text and the seed alone, without moving the text.

Every document has a hash of (seed, its key). The sample of a source is its documents with the smallest hashes, up to a number of bytes.
Each worker counts bytes by *bucket*, the upper 16 bits of the hash; the sum over all workers tells at which bucket the budget is full; only
documents below it are written to files, and one worker cuts the last bucket exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.sources import losses
from tokenreel.tokenizer_training.sample_files import Candidates
from tokenreel.tokenizer_training.sample_plan import SHIFT, Measured, cut_lengths
from tokenreel.tokenizer_training.texts import Texts


def hash_documents(seed: int, key: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hashes [n] uint64 keys of documents to the [n] uint64 numbers by which they are sampled, different for different keys."""
    return keys.streams(seed, "tokenizer/sample", key)


def measure(documents: Texts, source: int, seed: int, max_document_bytes: int, limit: int) -> tuple[Measured, Candidates]:
    """Counts documents by bucket, and takes those in the first `limit` buckets.

    Args:
      documents: the documents of a part of a block.
      source: index of their source.
      seed: decides which documents are chosen.
      max_document_bytes: where documents are cut.
      limit: number of buckets to take.

    Returns:
      The counts of all documents, and the documents in these buckets, in the order of their hashes.
    """
    hashes = hash_documents(seed, documents.key)
    lengths = cut_lengths(documents.text, documents.offsets, max_document_bytes)
    buckets = (hashes >> SHIFT).astype(np.int64)
    full = lengths > 0
    found, inverse = np.unique(buckets[full], return_inverse=True)
    sizes = np.zeros(len(found), dtype=np.int64)
    np.add.at(sizes, inverse, lengths[full])
    whole = np.diff(documents.offsets)
    measured = Measured(
        source=source,
        buckets=found,
        bytes=sizes,
        documents=int(np.count_nonzero(full)),
        text_bytes=int(whole.sum()),
        cut_documents=int(np.count_nonzero(lengths < whole)),
        faults=dict(documents.dead_letters),
        left_out=documents.left_out,
        lost_bytes=documents.lost_bytes,
        examples=[(fault.file, fault.position, fault.message) for fault in documents.faults[: losses.SHOWN]],
    )
    taken = np.flatnonzero(full & (buckets < limit))
    taken = taken[np.argsort(hashes[taken], kind="stable")]
    if not len(taken):
        nothing = Candidates(hashes[:0], documents.text[:0], np.zeros(1, dtype=np.int64))
        return measured, nothing
    text, offsets = ragged.take(documents.text, documents.offsets, taken)
    if (lengths[taken] < whole[taken]).any():  # keep the beginnings
        position = np.arange(len(text)) - np.repeat(offsets[:-1], np.diff(offsets))
        text = text[position < np.repeat(lengths[taken], np.diff(offsets))]
        offsets = ragged.offsets_of(lengths[taken])
    return measured, Candidates(hashes[taken], text, offsets)
