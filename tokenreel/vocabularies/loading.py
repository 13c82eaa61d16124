"""Loads a vocabulary of any kind."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from tokenreel.errors import VocabularyError
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.byte_level import ByteVocabulary
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary


def load_vocabulary(kind: str, path: str | None = None, **options: Any) -> Vocabulary:
    """Loads a vocabulary.

    Args:
      kind: `sentencepiece`, `bytes`, `characters`, `pass_through` or `huggingface`.
      path: of the model file, where the kind has one.
      options: what the class of the kind takes beside it.

    Raises:
      VocabularyError: the kind or an option is unknown, or the file cannot be read.
    """
    from tokenreel.vocabularies.characters import CharacterVocabulary
    from tokenreel.vocabularies.huggingface import HuggingFaceVocabulary
    from tokenreel.vocabularies.token_ids import PassThroughVocabulary

    # Here and not above: a trainer that loads one kind need not import the others.
    makers: dict[str, Any] = {
        "sentencepiece": functools.partial(SentencePieceVocabulary, path or ""),
        "bytes": ByteVocabulary,
        "characters": functools.partial(CharacterVocabulary, path or ""),
        "pass_through": PassThroughVocabulary,
        "huggingface": functools.partial(HuggingFaceVocabulary, path or ""),
    }
    special_ids = {"pad_id", "bos_id", "eos_id", "unk_id"}
    known = {
        "sentencepiece": {"memo_bytes", "extra_ids", "special_tokens"},
        "bytes": {"extra_ids"},
        "pass_through": {"vocab_size", *special_ids},
        "huggingface": {"special_tokens", *special_ids},
    }
    if kind not in makers:
        raise VocabularyError(f"vocabulary.kind must be one of {', '.join(makers)}, got {kind!r}")
    for name in options:
        if name not in known.get(kind, ()):
            raise VocabularyError(f"vocabulary.options: {kind} takes no option {name!r}; it takes {sorted(known.get(kind, ())) or 'none'}")
    vocabulary: Vocabulary = makers[kind](**options)
    return vocabulary


def open_vocabulary(kind: str, path: str | None, options: Mapping[str, Any]) -> Vocabulary:
    """Loads the vocabulary that a config names: `load_vocabulary`, with a way out where a package is missing.

    Raises:
      VocabularyError: as `load_vocabulary`, or a package that the kind needs is not installed.
    """
    try:
        return load_vocabulary(kind, path, **options)
    except ModuleNotFoundError as error:
        raise VocabularyError(f"vocabulary.kind {kind} needs a package: pip install {error.name}") from error
