"""Tokenizers of Hugging Face's `tokenizers` library, from their `tokenizer.json`."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.errors import PATHS_BEGIN, VocabularyError
from tokenreel.storage import files
from tokenreel.vocabularies import hidden_tokens, token_facts
from tokenreel.vocabularies.base import Vocabulary, check_memo_bytes, check_special_tokens, check_unpacked
from tokenreel.vocabularies.fast_path import FastPath, replace_documents
from tokenreel.vocabularies.plain_files import MERGES, to_tokenizer_json
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised
from tokenreel.vocabularies.token_facts import Question, Stored, TokenFacts
from tokenreel.vocabularies.token_roles import ROLES, describe_roles, read_beside
from tokenreel.vocabularies.word_path import WordPath, open_path

_NONE: frozenset[str] = frozenset()
_PORTION_BYTES = 1 << 20  # of text encoded at once: its encodings take some hundred times that

# The fast paths of this process, or why there are none, by fingerprint and the bytes they may take.
_FAST_PATHS: dict[tuple[str, int], FastPath | WordPath | NotRecognised] = {}
_FAST_PATHS_LOCK = threading.Lock()

VERSION = "huggingface-2"  # builds before had names in the text as tokens, and took special ids by their usual names alone


class HuggingFaceVocabulary(Vocabulary):
    """A `tokenizer.json`. The ids are the library's; what its post-processor would add ([CLS], bos) is not added.

    Names of special tokens in the text are text, unless `special_tokens` is set: no text gives the id of a special added token.
    The library's own threads are off unless `TOKENIZERS_PARALLELISM` is set: a build runs one worker on each core.
    """

    def __init__(
        self,
        path: str,
        special_tokens: bool = False,
        data: bytes | None = None,
        beside: Mapping[str, bytes] | None = None,
        stored: Stored | None = None,
        memo_bytes: int = 128 << 20,
        **ids: int | str | None,
    ) -> None:
        """Reads the tokenizer.

        Args:
          path: of the `tokenizer.json`, of a `vocab.json` with its `merges.txt` beside it, or of a `vocab.txt`.
          special_tokens: whether names of special tokens in the text become these tokens.
          data: the file's content, where it was read already.
          beside: contents of the files beside that name special tokens, where they were read already.
          stored: what the manifest of a dataset says; then no special id is looked for.
          memo_bytes: most memory a process spends on the ids of what it encoded before; 0 sends every document to the library.
          ids: `pad_id` and so on, an id or a name for each role of `token_roles.ROLES`; by default what the files beside name or what is
            among the added tokens under a usual name.

        Raises:
          VocabularyError: the file cannot be read or is no tokenizer, or it has no such token, or several that fit.
          ModuleNotFoundError: `tokenizers` is not installed.
        """
        self._path, self._lock, self._memo_bytes = path, threading.Lock(), check_memo_bytes(memo_bytes)
        self._special_tokens = check_special_tokens(special_tokens)
        self._loaded: dict[tuple[frozenset[str], frozenset[str]], Any] = {}
        self.beside = (read_beside(path) if stored is None else {}) if beside is None else beside
        self.data: bytes | None = _read(path, self.beside) if data is None else data
        self._given, self._stored = {role: ids.get(f"{role}_id") for role in ROLES}, stored
        facts = self._facts
        self.vocab_size, self.fingerprint = facts.vocab_size, facts.fingerprint
        self._marked, self._hidden, self._never = facts.marked, facts.hidden, facts.never
        for role, found in facts.roles.items():
            setattr(self, f"{role}_id", found)
        chosen = {f"{role}_id": found for role, found in facts.roles.items() if found is not None}
        self.resolved = {"special_tokens": special_tokens, **chosen}

    @functools.cached_property
    def _facts(self) -> TokenFacts:
        """What the library says of the tokens; it is loaded where that is not kept."""
        question = Question(
            path=self._path,
            data=self.data or b"",
            beside=self.beside,
            special_tokens=self._special_tokens,
            given=self._given,
            stored=self._stored,
        )
        found = token_facts.look_up(question, self._load)
        if found.marked:
            self._loaded.pop((_NONE, _NONE), None)  # without the marks, and not needed again
        return found

    def describe_special(self) -> str:
        """Says for people which tokens are special, and what becomes of their names in a text."""
        ids = {role: getattr(self, f"{role}_id") for role in ROLES}
        names = {i: self.piece(i) for i in ids.values() if i is not None}
        return f"{describe_roles(ids, names)}; in texts their names are {'these tokens' if self._special_tokens else 'text'}"

    @property
    def fast_path(self) -> FastPath | WordPath | NotRecognised:
        """What encodes blocks in the library's place, or why nothing does. The vocabularies of a process share it, by what decides ids."""
        name = self.fingerprint, self._memo_bytes
        with _FAST_PATHS_LOCK:
            if name not in _FAST_PATHS:
                try:
                    if not self._memo_bytes:
                        raise NotRecognised("vocabulary.options.memo_bytes is 0")
                    _FAST_PATHS[name] = open_path(self.fingerprint, self._read, lambda: self._tokenizer, self._memo_bytes)
                except NotRecognised as error:
                    _FAST_PATHS[name] = error
            return _FAST_PATHS[name]

    def _read(self) -> tuple[Mapping[str, Any], Any]:
        """What the fast path is made of."""
        return json.loads(self.data or b""), self._tokenizer

    def describe_speed(self) -> str:
        """Says for people what encodes blocks of text."""
        found = self.fast_path
        if not isinstance(found, NotRecognised):
            return f"encoded by tokenreel's own loops, with the library's ids: {found.description}"
        return f"encoded by the library as a whole, some twenty times as slow as what is known here: {found}"

    @property
    def _tokenizer(self) -> Any:
        return self._load(self._marked)

    def _load(self, marked: frozenset[str], hidden: frozenset[str] = _NONE) -> Any:
        """Gives the library with the tokenizer, in which `marked` added tokens are special, without the `hidden` ones."""
        with self._lock:
            if (marked, hidden) not in self._loaded:
                os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
                import tokenizers

                data = self.data or b""
                if marked:
                    data = hidden_tokens.mark_special(data, marked)
                if hidden:
                    data = hidden_tokens.hide(data, hidden)
                try:
                    tokenizer = tokenizers.Tokenizer.from_buffer(data)
                except BaseException as error:  # the library raises no class of its own, and its panics are no `Exception`
                    if isinstance(error, (KeyboardInterrupt, SystemExit)):
                        raise
                    raise VocabularyError(
                        f"{self._path}: not a tokenizer ({error}). Give the tokenizer.json that Hugging Face's tokenizers wrote."
                    ) from error
                tokenizer.no_truncation()  # both are settings of the file, meant for the inputs of a model
                tokenizer.no_padding()
                tokenizer.encode_special_tokens = not self._special_tokens
                if getattr(tokenizer.model, "dropout", None):
                    tokenizer.model.dropout = None  # it draws differently at every call
                self._loaded[marked, hidden] = tokenizer
            return self._loaded[marked, hidden]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_loaded", "_facts", "_ids_by_piece")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _loaded={})

    def piece(self, token: int) -> str | None:
        """Writes a token as the file does; None for ids that it leaves out."""
        return self._facts.piece(token)

    def added_tokens(self) -> dict[int, bool]:
        """Lists the tokens of the file's `added_tokens`, and whether they are special; an ordinary piece may have any name."""
        return dict(self._facts.added)

    @functools.cached_property
    def word_starts(self) -> npt.NDArray[np.bool_] | None:
        """Tells which tokens begin a word, bool [vocab_size], by "▁" or "Ġ" at their front or no "##"; None where tokens do not tell."""
        return self._facts.word_starts

    def encode(self, text: str) -> list[int]:
        """Turns one text into ids."""
        ids: list[int] = self._encode([text], fast=True)[0].tolist()
        return ids

    def _encode(
        self, documents: list[str], *, fast: bool
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], list[list[tuple[int, int]]]]:
        """Encodes texts.

        Returns:
          all ids end to end, their number in each text, and where those of each lie in it, which `fast` leaves out.

        Raises:
          VocabularyError: the tokenizer has no token for what stands there.
        """

        def encode(tokenizer: Any, texts: list[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
            with self._refusals():
                encode_batch = tokenizer.encode_batch_fast if fast else tokenizer.encode_batch
                found = encode_batch(texts, add_special_tokens=False)
                return [encoding.ids for encoding in found], [] if fast else [encoding.offsets for encoding in found]

        found, spans = encode(self._tokenizer, documents)
        ids, lengths = _end_to_end(found)
        if self._never is not None:
            again = ragged.holding(lengths, self._never[ids]).tolist()
            if again:  # a text spells the name of a token which the model has among its pieces
                other_ids, other_spans = encode(self._load(self._marked, self._hidden), [documents[i] for i in again])
                for number, i in enumerate(again):
                    found[i] = other_ids[number]
                    if not fast:
                        spans[i] = other_spans[number]
                ids, lengths = _end_to_end(found)
        return ids, lengths, spans

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Says in our words what the library raises on text that the tokenizer has no token for.

        Raises:
          VocabularyError: see above.
        """
        try:
            yield
        except BaseException as error:  # the library raises no class of its own, and its panics are no `Exception`
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise VocabularyError(
                f"{self._path}: cannot encode the text: {error}. Give the tokenizer a token for what it does not know (`unk_token` of its "
                "model), or one that has byte fallback."
            ) from error

    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text; special tokens show by name."""
        return str(self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False))

    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes many documents at once."""
        fast = self.fast_path
        if isinstance(fast, NotRecognised):
            return self._encode_by_library(text, offsets)
        ids, lengths = fast.encode_block(text, offsets, self._encode_by_library)
        if self._never is not None and self._never[fast.ids].any():
            again = ragged.holding(lengths, self._never[ids])
            if len(again):  # a text spells the name of a token that the model makes
                ids, lengths = replace_documents(ids, lengths, again, self._encode_by_library(*ragged.take(text, offsets, again)))
        return ids, lengths

    def _encode_by_library(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes many documents at once with the library."""
        parts = [np.zeros(0, dtype=np.int32)]
        lengths = [np.zeros(0, dtype=np.int64)]
        for documents in _portions(text, offsets):
            ids, counts, _ = self._encode(documents, fast=True)
            lengths.append(counts)
            parts.append(ids)
        return np.concatenate(parts), np.concatenate(lengths)

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once, with the offsets that the library reports; parts of a character have all of it."""
        fast = self.fast_path
        if isinstance(fast, NotRecognised):
            return self._locate_by_library(text, offsets)
        if isinstance(fast, WordPath):
            ids, begins, ends, lengths, left = fast.encode_with_spans(text, offsets)
            if self._never is not None:
                left[ragged.holding(lengths, self._never[ids])] = True
        else:
            ids, lengths = self.encode_block(text, offsets)
            begins, ends, explained = fast.find_spans(text, offsets, ids, lengths)
            left = ~explained
        which = np.flatnonzero(left)
        if len(which):
            other_ids, counts, *spans = self._locate_by_library(*ragged.take(text, offsets, which))
            old = lengths
            ids, lengths = replace_documents(ids, old, which, (other_ids, counts))
            begins, ends = (replace_documents(each, old, which, (s, counts))[0] for each, s in zip((begins, ends), spans, strict=True))
        return ids, lengths, begins, ends

    def _locate_by_library(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once with the library, with the offsets that it reports."""
        parts = [np.zeros((3, 0), dtype=np.int32)]
        lengths = [np.zeros(0, dtype=np.int64)]
        for documents in _portions(text, offsets):
            ids, counts, found = self._encode(documents, fast=False)
            lengths.append(counts)
            pairs = itertools.chain.from_iterable(itertools.chain.from_iterable(found))
            spans = np.fromiter(pairs, dtype=np.int32, count=2 * len(ids)).reshape(-1, 2)
            parts.append(np.stack([ids, spans[:, 0], spans[:, 1]]))
        tokens, begins, ends = np.concatenate(parts, axis=1)
        return tokens, np.concatenate(lengths), begins, ends


def _end_to_end(found: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Lays the ids of texts end to end, and counts those of each."""
    lengths = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
    return np.fromiter(itertools.chain.from_iterable(found), dtype=np.int32, count=int(lengths.sum())), lengths


def _read(path: str, beside: Mapping[str, bytes]) -> bytes:
    """Reads the file, or makes the `tokenizer.json` that stands for a vocabulary without one.

    Raises:
      VocabularyError: it cannot be read, or what has to be beside it.
    """

    def read(name: str) -> bytes:
        try:
            return check_unpacked(name, files.read_bytes(name))
        except OSError as error:
            needed = "" if name == path else f" {path} needs it beside it."
            if isinstance(error, IsADirectoryError):
                needed = " Give the file in it, such as tokenizer.json."
            raise VocabularyError(
                f"{name}: cannot read the tokenizer ({error.strerror or error}).{needed} Check vocabulary.path. {PATHS_BEGIN}"
            ) from error

    return to_tokenizer_json(path, read(path), beside, lambda: read(files.join(os.path.dirname(path) or ".", MERGES)))


def _portions(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Iterator[list[str]]:
    """Cuts a block into lists of documents, of about `_PORTION_BYTES` each."""
    for start, stop in ragged.portions(offsets, _PORTION_BYTES):
        data = text[offsets[start] : offsets[stop]].tobytes()
        bounds = (offsets[start : stop + 1] - offsets[start]).tolist()
        yield [data[a:b].decode() for a, b in itertools.pairwise(bounds)]
