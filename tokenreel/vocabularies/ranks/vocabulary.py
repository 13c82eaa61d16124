"""Tokenizers of rank files: tiktoken's, and tekken."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import itertools
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import PATHS_BEGIN, VocabularyError
from tokenreel.storage import files
from tokenreel.vocabularies import fast_path, kept_arrays, token_roles
from tokenreel.vocabularies.base import Encoded, Vocabulary, check_memo_bytes, check_special_tokens, is_id
from tokenreel.vocabularies.pre_tokenizers import recognition
from tokenreel.vocabularies.pre_tokenizers.patterns import RANKS
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised
from tokenreel.vocabularies.ranks import library
from tokenreel.vocabularies.ranks.library import Library
from tokenreel.vocabularies.ranks.merges import byte_pairs_of_ranks
from tokenreel.vocabularies.ranks.patterns import PATTERNS
from tokenreel.vocabularies.ranks.rank_files import RankFile, read_ranks
from tokenreel.vocabularies.special_tokens import SpecialTokens
from tokenreel.vocabularies.unit_memo.byte_pairs import BytePairMemo, lay_out

_Ints = npt.NDArray[np.int64]
VERSION = "tiktoken-1"
_MOST_BYTES = 1 << 29  # of a document: the kernels count its bytes in 30 bits
_NO_TOKENS: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)

# What encodes in this process, or why it is the library, by fingerprint and the bytes it may take.
_MEMOS: dict[tuple[str, int], BytePairMemo | NotRecognised] = {}
_MEMOS_LOCK = threading.Lock()


class RankVocabulary(Vocabulary):
    """A file of ranks. The ids are tiktoken's: those of `encode_ordinary`, or of `encode` with all special tokens allowed.

    Names of special tokens in the text are text, unless `special_tokens` is set.
    """

    def __init__(
        self,
        path: str,
        special_tokens: bool = False,
        data: bytes | None = None,
        beside: Mapping[str, bytes] | None = None,
        pattern: str | None = None,
        added_tokens: Mapping[str, int] | None = None,
        stored: Mapping[str, int | None] | None = None,
        memo_bytes: int = 128 << 20,
        **ids: int | str | None,
    ) -> None:
        """Reads the tokenizer.

        Args:
          path: of the `.tiktoken` file (also where it has another name, such as Llama 3's `tokenizer.model`), or of the `tekken.json`.
          special_tokens: whether names of special tokens in the text become these tokens.
          data: the file's content, where it was read already.
          beside: contents of the files beside that name special tokens, where they were read already.
          pattern: what cuts texts into units, one of `PATTERNS` or a regular expression; a tekken.json has its own.
          added_tokens: ids of the special tokens that the file itself does not name, by name; by default those of the
            `tokenizer_config.json` beside it.
          stored: the special ids that the manifest of a dataset has, by role; then none is looked for.
          memo_bytes: most memory a process spends on the ids of what it encoded before; 0 sends every document to the library.
          ids: `pad_id` and so on, an id or a name for each role of `token_roles.ROLES`.

        Raises:
          VocabularyError: the file cannot be read or is no tokenizer, an option is missing or impossible, or several tokens fit.
        """
        self._path, self._memo_bytes, self._lock = path, check_memo_bytes(memo_bytes), threading.Lock()
        self.data: bytes | None = _read(path) if data is None else data
        self.beside = (token_roles.read_beside(path) if stored is None else {}) if beside is None else beside
        self._special_tokens = check_special_tokens(special_tokens)
        file = self._file
        self._pattern = _pattern(path, file, pattern)
        added = _told(path, self.beside, file) if added_tokens is None else added_tokens
        _check_added(path, file, added)
        self._special = {**file.special, **added}
        self.vocab_size = max([file.vocab_size, *(i + 1 for i in added.values())])
        if stored is None:
            ordinary = {name: i for piece, i in file.ids.items() if (name := _text(piece)) is not None}
            known = token_roles.Tokens(
                path=path, ids=ordinary | self._special, added=self._special, vocab_size=self.vocab_size, unk_id=None, beside=self.beside
            )
            roles = token_roles.find_roles(known, {role: ids.get(f"{role}_id") for role in token_roles.ROLES})
        else:
            roles = dict(token_roles.check_stored(stored, self.vocab_size))
        for role, found in roles.items():
            setattr(self, f"{role}_id", found)
        chosen = {f"{role}_id": found for role, found in roles.items() if found is not None}
        self.resolved = {"special_tokens": special_tokens, "pattern": self._pattern, "added_tokens": dict(added), **chosen}
        named = json.dumps(sorted(self._special.items()))
        self.fingerprint = keys.digest(VERSION, self.data or b"", self._pattern, int(special_tokens), named)

    def __getstate__(self) -> dict[str, Any]:
        loaded = ("_lock", "_file", "_bytes", "_library", "_ids_by_piece", "_named", "_measures", "_names", "word_starts")
        return {name: value for name, value in vars(self).items() if name not in loaded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    @functools.cached_property
    def _file(self) -> RankFile:
        return read_ranks(self._path, self.data or b"")

    @functools.cached_property
    def _bytes(self) -> list[bytes | None]:
        """What each id stands for; None where there is no such token."""
        found: list[bytes | None] = [None] * self.vocab_size
        for piece, i in self._file.ids.items():
            found[i] = piece
        for name, i in self._special.items():
            found[i] = name.encode()
        return found

    @functools.cached_property
    def _library(self) -> Library:
        try:
            return Library(self._path, self._pattern, self._file.ids, self._special, special_tokens=self._special_tokens)
        except ModuleNotFoundError as error:
            raise VocabularyError(f"{self._path}: tiktoken has to encode what our own loops do not. pip install {error.name}") from error

    def describe_special(self) -> str:
        """Says for people which tokens are special, and what becomes of their names in a text."""
        ids = {role: getattr(self, f"{role}_id") for role in token_roles.ROLES}
        names = "these tokens" if self._special_tokens else "text"
        roles = token_roles.describe_roles(ids, {i: self.piece(i) for i in ids.values() if i is not None})
        return f"{roles}; in texts their names are {names}"

    @property
    def memo(self) -> BytePairMemo | NotRecognised:
        """What encodes units in the library's place, or why nothing does. The vocabularies of a process share it, by what decides ids."""
        name = self.fingerprint, self._memo_bytes
        with _MEMOS_LOCK:
            if name not in _MEMOS:
                try:
                    _MEMOS[name] = self._make_memo()
                except NotRecognised as error:
                    _MEMOS[name] = error
            return _MEMOS[name]

    def _make_memo(self) -> BytePairMemo:
        """Builds what encodes units.

        Raises:
          NotRecognised: the library has to.
        """
        if not self._memo_bytes:
            raise NotRecognised("vocabulary.options.memo_bytes is 0")
        if importlib.util.find_spec("numba") is None:  # a trainer's environment may lack it, and encodes little
            raise NotRecognised("Numba is not installed")
        if importlib.util.find_spec("tiktoken") and (found := importlib.metadata.version("tiktoken")) != library.VERSION:
            raise NotRecognised(f"tiktoken {found}, whose Unicode tables were not compared with those kept here")
        if self._special_tokens:
            _check_no_prefixes(self._special)
        kept = kept_arrays.get("ranks", keys.digest(self.data or b"", self._pattern), self._lay_out)
        if kept.about is not None:
            raise NotRecognised(kept.about)
        return BytePairMemo(kept.arrays, self._memo_bytes)

    def _lay_out(self) -> kept_arrays.Built:
        """Works out what encodes units, or why the library has to."""
        try:
            return lay_out(byte_pairs_of_ranks(self._file.ids), recognition.for_pattern(self._pattern, RANKS)), None
        except NotRecognised as error:
            return {}, str(error)

    def describe_speed(self) -> str:
        """Says for people what encodes blocks of text."""
        found = self.memo
        if isinstance(found, NotRecognised):
            _ = self._library  # refuses now what would be refused later
            return f"encoded by tiktoken as a whole, some ten times as slow as what is known here: {found}"
        return "encoded by tokenreel's own loops, with tiktoken's ids: ranks of bytes, cut by a pattern"

    def piece(self, token: int) -> str | None:
        """Writes a token: special ones by name, others in the letters of byte-level tokenizers (`Ġthe`); None where there is none."""
        if not 0 <= token < self.vocab_size:
            return None
        name = self._names.get(token)
        data = self._bytes[token]
        return name if name is not None or data is None else "".join(map(_letters().__getitem__, data))

    @functools.cached_property
    def _names(self) -> dict[int, str]:
        return {i: name for name, i in self._special.items()}

    @functools.cached_property
    def _ids_by_piece(self) -> dict[str | None, int]:
        """Finds ids by name, special tokens before pieces that are spelled alike."""
        return {self.piece(token): token for token in reversed(range(self.vocab_size))} | self._special

    def added_tokens(self) -> dict[int, bool]:
        """Lists the special tokens; none of them is text."""
        return dict.fromkeys(self._special.values(), True)

    @functools.cached_property
    def word_starts(self) -> npt.NDArray[np.bool_]:
        """Tells which tokens begin a word, bool [vocab_size]: pieces that begin with a space."""
        special = set(self._special.values())
        return np.array([data is not None and i not in special and data[:1] == b" " for i, data in enumerate(self._bytes)])

    def encode(self, text: str) -> list[int]:
        """Turns one text into ids."""
        data = np.frombuffer(text.encode(), dtype=np.uint8)
        ids: list[int] = self.encode_block(data, np.array([0, len(data)]))[0].tolist()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text; broken UTF-8 shows as U+FFFD, special tokens show by name."""
        known = (self._bytes[i] or b"" for i in map(int, ids) if 0 <= i < self.vocab_size)
        return b"".join(known).decode("utf-8", "replace")

    def encode_block(self, text: npt.NDArray[np.uint8], offsets: _Ints) -> Encoded:
        """Encodes many documents at once.

        Raises:
          VocabularyError: the library has to encode one, and gives it up.
        """
        memo = self.memo
        if isinstance(memo, NotRecognised) or np.diff(offsets).max(initial=0) > _MOST_BYTES:
            return self._encode_by_library(text, offsets)
        if not self._special_tokens or not self._special:
            return memo.encode(text, offsets, _NO_TOKENS)
        return self._named.encode_block(text, offsets, lambda parts, bounds, *_: memo.encode(parts, bounds, _NO_TOKENS))

    def _encode_by_library(self, text: npt.NDArray[np.uint8], offsets: _Ints) -> Encoded:
        with self._lock:
            loaded = self._library
        return loaded.encode_block(text, offsets)

    @functools.cached_property
    def _named(self) -> SpecialTokens:
        return SpecialTokens(self._special)

    @functools.cached_property
    def _measures(self) -> _Ints:
        """What `kernels.byte_spans.find_spans` asks about each id."""

        def build() -> kept_arrays.Built:
            found = (-1 if data is None else fast_path.measure_of("", data, "") for data in self._bytes)
            return {"measures": np.fromiter(found, dtype=np.int64, count=self.vocab_size)}, None

        return kept_arrays.get("token-measures", self.fingerprint, build).arrays["measures"]

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: _Ints
    ) -> tuple[npt.NDArray[np.int32], _Ints, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once, and adds up the bytes of their tokens; parts of a character have all of it.

        Raises:
          VocabularyError: the pattern leaves out some of a document, so that nothing tells where its tokens lie.
        """
        from tokenreel.vocabularies.unit_memo.kernels.byte_spans import find_spans

        ids, lengths = self.encode_block(text, offsets)
        begins, ends, explained = find_spans(offsets, ids, lengths, self._measures, False)
        if not explained.all():
            raise VocabularyError(
                f"{self._path}: the pattern leaves out some of document {int(np.argmin(explained))} of {len(lengths)}, so nothing tells "
                "where its tokens lie in the text. Set vocabulary.offsets to false."
            )
        return ids, lengths, begins, ends


@functools.cache
def _letters() -> list[str]:
    """The letter of each byte."""
    found = {byte: letter for letter, byte in fast_path.byte_letters().items()}
    return [found[byte] for byte in range(256)]


def _text(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def _read(path: str) -> bytes:
    """Reads the file.

    Raises:
      VocabularyError: it cannot be read.
    """
    try:
        return files.read_bytes(path)
    except OSError as error:
        raise VocabularyError(f"{path}: cannot be read ({error.strerror or error}). Check vocabulary.path. {PATHS_BEGIN}") from error


def _pattern(path: str, file: RankFile, given: str | None) -> str:
    """Finds the pattern.

    Raises:
      VocabularyError: the file has another one, or none is given.
    """
    if given is not None and not isinstance(given, str):
        raise VocabularyError(f"vocabulary.options.pattern must be {', '.join(PATTERNS)} or a regular expression, got {given!r}")
    if file.pattern is None:
        if not given:
            raise VocabularyError(
                f"{path}: a file of ranks does not say how texts are cut. Set vocabulary.options.pattern to {', '.join(PATTERNS)}, or to "
                "the regular expression of the model's own code."
            )
        return PATTERNS.get(given, given)
    if given is not None and PATTERNS.get(given, given) != file.pattern:
        raise VocabularyError(f"{path}: it has a pattern of its own. Leave vocabulary.options.pattern out.")
    return file.pattern


def _told(path: str, beside: Mapping[str, bytes], file: RankFile) -> dict[str, int]:
    """Reads the special tokens of the `tokenizer_config.json` beside the file, which has them by their ids.

    Raises:
      VocabularyError: it is not JSON, or has them otherwise.
    """
    try:
        content = json.loads(beside.get("tokenizer_config.json", b"{}"))
        listed = content.get("added_tokens_decoder") or {}
        found = {token["content"]: int(i) for i, token in listed.items()}
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise VocabularyError(
            f"{path}: added_tokens_decoder of the tokenizer_config.json beside it cannot be read ({type(error).__name__}: {error}). Mend "
            "it, or set vocabulary.options.added_tokens."
        ) from None
    return {name: i for name, i in found.items() if file.special.get(name) != i}


def _check_added(path: str, file: RankFile, added: Mapping[str, int]) -> None:
    """Checks the special tokens that stand beside the ranks.

    Raises:
      VocabularyError: a name or an id is none, or is taken.
    """
    option = "vocabulary.options.added_tokens"
    if not isinstance(added, Mapping):
        raise VocabularyError(f'{option} must be ids by name, such as {{"<|endoftext|>": {file.vocab_size}}}, got {added!r}')
    taken = {i: f"the piece {piece!r}" for piece, i in file.ids.items()} | {i: repr(name) for name, i in file.special.items()}
    for name, i in added.items():
        if not isinstance(name, str) or not name or not is_id(i, 1 << 24):
            raise VocabularyError(f"{option}: {name!r} has {i!r}. Give a whole number, the id that the model has for it.")
        if i in taken or name in file.special:
            raise VocabularyError(f"{path}: {option} gives {name!r} the id {i}, which is {taken.get(i, file.special.get(name))}.")
        taken[i] = repr(name)


def _check_no_prefixes(special: Mapping[str, int]) -> None:
    """Checks that no name begins another: which of the two tiktoken finds is chance.

    Raises:
      NotRecognised: one does.
    """
    names = sorted(special)
    for first, second in itertools.pairwise(names):
        if second.startswith(first):
            raise NotRecognised(f"the name {second!r} begins with another one, {first!r}")
