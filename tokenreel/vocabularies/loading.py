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
from tokenreel.vocabularies.token_roles import ROLES

_SPECIAL_IDS = ("pad_id", "bos_id", "eos_id", "unk_id")
_OPTIONS = {
    "sentencepiece": {"memo_bytes", "extra_ids", "special_tokens"},
    "bytes": {"extra_ids"},
    "pass_through": {"vocab_size", *_SPECIAL_IDS},
    "huggingface": {"memo_bytes", "special_tokens", *(f"{role}_id" for role in ROLES)},
    "tiktoken": {"memo_bytes", "special_tokens", "pattern", "added_tokens", *(f"{role}_id" for role in ROLES)},
}


def load_vocabulary(
    kind: str, path: str | None = None, *, data: bytes | None = None, beside: Mapping[str, bytes] | None = None, **options: Any
) -> Vocabulary:
    """Loads a vocabulary.

    Args:
      kind: `sentencepiece`, `bytes`, `characters`, `pass_through`, `huggingface` or `tiktoken`.
      path: of the model file, where the kind has one.
      data: the content of that file, where it was read already.
      beside: contents of the files beside it that tell more, by name, where they were read already; only `huggingface` and
        `tiktoken` read any.
      options: what the class of the kind takes beside it.

    Raises:
      VocabularyError: the kind or an option is unknown, or the file cannot be read.
    """
    from tokenreel.vocabularies.characters import CharacterVocabulary
    from tokenreel.vocabularies.huggingface import HuggingFaceVocabulary
    from tokenreel.vocabularies.ranks.vocabulary import RankVocabulary
    from tokenreel.vocabularies.token_ids import PassThroughVocabulary

    # Here and not above: a trainer that loads one kind need not import the others.
    makers: dict[str, Any] = {
        "sentencepiece": functools.partial(SentencePieceVocabulary, path or "", data=data),
        "bytes": ByteVocabulary,
        "characters": functools.partial(CharacterVocabulary, path or "", data=data),
        "pass_through": PassThroughVocabulary,
        "huggingface": functools.partial(HuggingFaceVocabulary, path or "", data=data, beside=beside),
        "tiktoken": functools.partial(RankVocabulary, path or "", data=data, beside=beside),
    }
    if kind not in makers:
        raise VocabularyError(f"vocabulary.kind must be one of {', '.join(makers)}, got {kind!r}")
    _check_options(kind, options)
    vocabulary: Vocabulary = makers[kind](**options)
    return vocabulary


def _check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Checks that a kind takes its options.

    Raises:
      VocabularyError: it does not take one.
    """
    for name, value in options.items():
        if name not in _OPTIONS.get(kind, ()):
            takes = sorted(_OPTIONS.get(kind, ())) or "none"
            raise VocabularyError(f"vocabulary.options.{name} is {value!r}, but {kind} takes no option {name!r}; it takes {takes}")


def open_vocabulary(kind: str, path: str | None, options: Mapping[str, Any]) -> Vocabulary:
    """Loads the vocabulary that a config names: `load_vocabulary`, with a way out where a package is missing.

    Raises:
      VocabularyError: as `load_vocabulary`, or a package that the kind needs is not installed.
    """
    try:
        return load_vocabulary(kind, path, **options)
    except ModuleNotFoundError as error:
        raise VocabularyError(f"vocabulary.kind {kind} needs a package: pip install {error.name}") from error


def open_stored(directory: str, manifest: Manifest, *, anew: bool = False) -> Vocabulary:
    """Loads the vocabulary that made a dataset, from its copy there, whose bytes are compared with the manifest.

    The special ids of a `tokenizer.json` or of a file of ranks are those of the manifest. With `anew` they are found again as the build
    found them, for whoever checks the manifest; of datasets that were built by older rules they are taken from it all the same.

    Raises:
      ManifestError: the copy is missing, or not what was written.
      ModuleNotFoundError: a package that the kind needs is not installed.
      VocabularyError: the manifest's options do not go with the kind, or the copy is no model.
    """
    info = manifest.vocabulary
    try:
        if info.file is None:
            return load_vocabulary(info.kind, **info.options)
        data, path = sidecars.read(directory, manifest, info.file), files.join(directory, info.file)
        if info.kind in ("huggingface", "tiktoken"):
            return _open_with_roles(directory, manifest, path, data, anew=anew)
        return load_vocabulary(info.kind, path, data=data, **info.options)
    except FileNotFoundError as error:
        raise ManifestError(str(error)) from None
    except VocabularyError as error:
        message = str(error)
        raise VocabularyError(message if directory in message else f"{files.join(directory, naming.MANIFEST)}: {message}") from None


def _open_with_roles(directory: str, manifest: Manifest, path: str, data: bytes, *, anew: bool) -> Vocabulary:
    """Loads the `tokenizer.json` or the file of ranks that made a dataset; see `open_stored` for what is raised."""
    from tokenreel.vocabularies.huggingface import HuggingFaceVocabulary
    from tokenreel.vocabularies.ranks.vocabulary import RankVocabulary
    from tokenreel.vocabularies.token_facts import Stored

    info = manifest.vocabulary
    older = "vocabulary" not in manifest.algorithms
    if anew and not older:
        beside = {name: sidecars.read(directory, manifest, name) for name in naming.BESIDE_TOKENIZER if manifest.find_file(name)}
        return load_vocabulary(info.kind, path, data=data, beside=beside, **manifest.config["vocabulary"]["options"])
    _check_options(info.kind, info.options)
    ids = {role: getattr(info, f"{role}_id") if f"{role}_id" in _SPECIAL_IDS else info.options.get(f"{role}_id") for role in ROLES}
    if info.kind == "tiktoken":
        told = info.options
        return RankVocabulary(
            path, told.get("special_tokens", False), data, pattern=told.get("pattern"), added_tokens=told.get("added_tokens"), stored=ids
        )
    special_tokens = info.options.get("special_tokens", older)  # what builds did before they told
    return HuggingFaceVocabulary(path, special_tokens, data=data, stored=Stored(ids=ids, older=older))
