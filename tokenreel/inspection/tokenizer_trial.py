"""What a tokenizer makes of some files, and how fast it is there beside its library.

Tested in tests/pipelines/test_try_tokenizer.py.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.errors import SourceError
from tokenreel.inspection.terminal import painter
from tokenreel.storage import files
from tokenreel.vocabularies.base import Encoded, Vocabulary
from tokenreel.vocabularies.huggingface import HuggingFaceVocabulary
from tokenreel.vocabularies.ranks.vocabulary import RankVocabulary
from tokenreel.vocabularies.token_roles import ROLES, describe_roles
from tokenreel.wording import one_line, plain

Block = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
_SAMPLE = 240  # characters shown
_WARM_UP: Block = np.frombuffer(b"a", dtype=np.uint8), np.array([0, 1])


def read(path: str, most: int) -> Block:
    """Reads the documents of a file, up to so many bytes, which may end the last of them within.

    Raises:
      SourceError: it cannot be read, or holds no text.
    """
    try:
        data = files.read_bytes(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from error
    texts = [data]
    if path.endswith(".jsonl"):
        try:
            texts = [json.loads(line)["text"].encode() for line in data.split(b"\n") if line.strip()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{path}: a line is no object with a field text ({one_line(error)})") from error
    kept: list[bytes] = []
    room = most
    for text in texts:
        try:
            kept.append((text if len(text) <= room else text[:room].decode(errors="ignore").encode()) if room > 0 else b"")
            kept[-1].decode()
        except UnicodeDecodeError as error:
            raise SourceError(f"{path}: not UTF-8 ({error})") from error
        if len(text) >= room:
            break
        room -= len(text)
    if not any(kept):
        raise SourceError(f"{path}: holds no text")
    return np.frombuffer(b"".join(kept), dtype=np.uint8), ragged.offsets_of(np.fromiter(map(len, kept), dtype=np.int64, count=len(kept)))


def describe(path: str, kind: str, vocabulary: Vocabulary) -> None:
    """Prints what a tokenizer is: its ids, its special ids, and what encodes blocks of text."""
    print(f"{plain(path)}: {kind}, {vocabulary.vocab_size:,} ids, fingerprint {vocabulary.fingerprint[:16]}")
    if isinstance(vocabulary, HuggingFaceVocabulary | RankVocabulary):
        print(f"special ids: {plain(vocabulary.describe_special())}")
        print(plain(vocabulary.describe_speed()))
    else:
        ids = {role: getattr(vocabulary, f"{role}_id") for role in ROLES}
        print(f"special ids: {plain(describe_roles(ids, {i: vocabulary.piece(i) for i in ids.values() if i is not None}))}")


def show(vocabulary: Vocabulary, block: Block, color: bool) -> None:
    """Prints the beginning of the first document, token by token, in two colours that take turns."""
    text, offsets = block
    sample = text[: offsets[1]].tobytes().decode()[:_SAMPLE]
    paint = painter(color)
    ids = vocabulary.encode(sample)
    shown = (f"{vocabulary.piece(i) or vocabulary.decode([i])} {i}" for i in ids)
    print(
        "sample: "
        + " ".join(paint(style, f"[{plain(each)}]") for style, each in zip(itertools.cycle(("special", "boundary")), shown, strict=False))
    )


def race(vocabulary: Vocabulary, library: Vocabulary | None, blocks: Mapping[str, Block]) -> int:
    """Prints a line for each file; returns 1 if ids differ."""
    heads = ("documents", "MB", "tokens/byte", "tokens/word", "MB/s first", " again", "library", "differ")
    print(f"{'file':32} {heads[0]} {heads[1]:>6} {' '.join(heads[2:])}")
    wrong = 0
    for path, block in blocks.items():
        text, offsets = block
        words = sum(len(part.split()) for part in _texts(block))
        vocabulary.encode_block(*_WARM_UP)  # loads what is loaded once
        first, (ids, lengths) = _timed(vocabulary, block)
        again, _ = _timed(vocabulary, block)
        size = len(text) / 1e6
        pace, differ = "-", "-"
        if library is not None:
            seconds, (other_ids, other_lengths) = _timed(library, block)
            unlike = _unlike((ids, lengths), (other_ids, other_lengths))
            wrong += unlike
            pace, differ = f"{size / max(seconds, 1e-9):.1f}", str(unlike)
        rates = f"{len(ids) / len(text):11.3f} {len(ids) / max(words, 1):11.2f}"
        rates += f" {size / max(first, 1e-9):10.1f} {size / max(again, 1e-9):6.1f}"
        print(f"{plain(path)[-32:]:32} {len(offsets) - 1:9,} {size:6.2f} {rates} {pace:>7} {differ:>6}")
    return int(wrong > 0)


def _texts(block: Block) -> list[str]:
    text, offsets = block
    return [text[a:b].tobytes().decode() for a, b in itertools.pairwise(offsets.tolist())]


def _timed(vocabulary: Vocabulary, block: Block) -> tuple[float, Encoded]:
    """Encodes documents, and says how many seconds of CPU that took."""
    began = time.process_time()
    found = vocabulary.encode_block(*block)
    return time.process_time() - began, found


def _unlike(first: Encoded, second: Encoded) -> int:
    """Counts the documents that two ways of encoding give other ids."""
    parts = [[ids[a:b].tobytes() for a, b in itertools.pairwise(ragged.offsets_of(lengths).tolist())] for ids, lengths in (first, second)]
    return sum(a != b for a, b in zip(*parts, strict=True))
