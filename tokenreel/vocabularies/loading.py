"""Loads a vocabulary of any kind."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from tokenreel.errors import ManifestError, VocabularyError
from tokenreel.format import naming, sidecars
from tokenreel.format.manifest import Manifest
from tokenreel.storage import files
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.byte_level import ByteVocabulary
from tokenreel.vocabularies.sentencepiece.vocabulary import SentencePieceVocabulary


def load_vocabulary(kind: str, path: str | None = None, *, data: bytes | None = None, **options: Any) -> Vocabulary:
    """Loads a vocabulary.

    Args:
      kind: `sentencepiece`, `bytes`, `characters`, `pass_through` or `huggingface`.
      path: of the model file, where the kind has one.
      data: the content of that file, where it was read already.
      options: what the class of the kind takes beside it.

    Raises:
      VocabularyError: the kind or an option is unknown, or the file cannot be read.
    """
    from tokenreel.vocabularies.characters import CharacterVocabulary
    from tokenreel.vocabularies.huggingface import HuggingFaceVocabulary
    from tokenreel.vocabularies.token_ids import PassThroughVocabulary

    # Here and not above: a trainer that loads one kind need not import the others.
    makers: dict[str, Any] = {
        "sentencepiece": functools.partial(SentencePieceVocabulary, path or "", data=data),
        "bytes": ByteVocabulary,
        "characters": functools.partial(CharacterVocabulary, path or "", data=data),
        "pass_through": PassThroughVocabulary,
        "huggingface": functools.partial(HuggingFaceVocabulary, path or "", data=data),
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
    for name, value in options.items():
        if name not in known.get(kind, ()):
            takes = sorted(known.get(kind, ())) or "none"
            raise VocabularyError(f"vocabulary.options.{name} is {value!r}, but {kind} takes no option {name!r}; it takes {takes}")
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


def open_stored(directory: str, manifest: Manifest) -> Vocabulary:
    """Loads the vocabulary that made a dataset, from its copy there, whose bytes are compared with the manifest.

    Raises:
      ManifestError: the copy is missing, or not what was written.
      ModuleNotFoundError: a package that the kind needs is not installed.
      VocabularyError: the manifest's options do not go with the kind, or the copy is no model.
    """
    info = manifest.vocabulary
    try:
        if info.file is None:
            return load_vocabulary(info.kind, **info.options)
        data = sidecars.read(directory, manifest, info.file)
        return load_vocabulary(info.kind, files.join(directory, info.file), data=data, **info.options)
    except FileNotFoundError as error:
        raise ManifestError(str(error)) from None
    except VocabularyError as error:
        message = str(error)
        raise VocabularyError(message if directory in message else f"{files.join(directory, naming.MANIFEST)}: {message}") from None
