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

from tokenreel import keys
from tokenreel.errors import PATHS_BEGIN, VocabularyError
from tokenreel.storage import files
from tokenreel.vocabularies.base import Vocabulary, is_id

_PORTION_BYTES = 1 << 20  # of text encoded at once: its encodings take some hundred times that

_NAMES = {  # what well-known tokenizers call them; [CLS] and [SEP] begin and end inputs, not documents, and are not guessed
    "pad_id": ("<pad>", "[PAD]", "<|pad|>", "<|padding|>"),
    "bos_id": ("<s>", "<bos>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>"),
    "eos_id": ("</s>", "<eos>", "[EOS]", "<|end_of_text|>", "<|endoftext|>"),
    "unk_id": ("<unk>", "[UNK]", "<|unk|>"),
}
_MOST_IDS = 1 << 24  # arrays of a value for each id are made


class HuggingFaceVocabulary(Vocabulary):
    """A `tokenizer.json`. The ids are the library's; what its post-processor would add ([CLS], bos) is not added.

    The library's own threads are off unless `TOKENIZERS_PARALLELISM` is set: a build runs one worker on each core.
    """

    def __init__(
        self,
        path: str,
        special_tokens: bool = True,
        pad_id: int | str | None = None,
        bos_id: int | str | None = None,
        eos_id: int | str | None = None,
        unk_id: int | str | None = None,
        data: bytes | None = None,
    ) -> None:
        """Reads the tokenizer.

        Args:
          path: of the `tokenizer.json`.
          special_tokens: whether names of special tokens in the text become these tokens, which the library does; if not, they are text.
          pad_id: an id or a name; by default what the tokenizer has of the usual names among its added tokens, as for the next three.
          bos_id: begins texts.
          eos_id: ends texts.
          unk_id: stands for what is not known.
          data: the file's content, where it was read already.

        Raises:
          VocabularyError: the file cannot be read or is no tokenizer, or it has no such token.
          ModuleNotFoundError: `tokenizers` is not installed.
        """
        self._path, self._lock = path, threading.Lock()
        try:
            self.data: bytes | None = files.read_bytes(path) if data is None else data
        except OSError as error:
            raise VocabularyError(
                f"{path}: cannot read the tokenizer ({error.strerror or error}). Check vocabulary.path. {PATHS_BEGIN}"
            ) from error
        if not isinstance(special_tokens, bool):
            raise VocabularyError(f"vocabulary.options.special_tokens must be true or false, got {special_tokens!r}")
        self._special_tokens = special_tokens
        self._loaded: Any = None
        tokens = self._tokenizer.get_vocab(with_added_tokens=True)
        if not tokens:
            raise VocabularyError(f"{path}: the tokenizer has no token. Give the tokenizer.json of one that was trained.")
        added = {self.piece(i): i for i in self.added_tokens()}
        self.vocab_size = _count_ids(path, tokens)
        model = json.loads(self.data).get("model") or {}
        given = {"pad_id": pad_id, "bos_id": bos_id, "eos_id": eos_id, "unk_id": unk_id}
        ids: dict[str, int | None] = {name: next((added[n] for n in names if n in added), None) for name, names in _NAMES.items()}
        if model.get("unk_token") in tokens:  # the model's own, whatever it is called
            ids["unk_id"] = tokens[model["unk_token"]]
        if model.get("type") == "Unigram" and model.get("unk_id") is not None:
            ids["unk_id"] = int(model["unk_id"])
        for name, value in given.items():
            if value is None:
                continue
            found = tokens.get(value) if isinstance(value, str) else value
            if not is_id(found, self.vocab_size):
                raise VocabularyError(
                    f"vocabulary.options.{name}: the tokenizer has no token {value!r}. Give the name of a token, or an id, a whole number "
                    f"below {self.vocab_size}."
                )
            ids[name] = found
        self.pad_id, self.bos_id, self.eos_id, self.unk_id = (ids[name] for name in _NAMES)
        self._word_prefix = _word_prefix(json.loads(self.data))
        self.fingerprint = keys.digest("huggingface", self.data, int(special_tokens))

    @property
    def _tokenizer(self) -> Any:
        with self._lock:
            if self._loaded is None:
                os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
                import tokenizers

                try:
                    tokenizer = tokenizers.Tokenizer.from_buffer(self.data or b"")
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
                self._loaded = tokenizer
            return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_loaded", "_ids_by_piece")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _loaded=None)

    def piece(self, token: int) -> str | None:
        """Writes a token as the tokenizer does; None for ids that it leaves out."""
        name: str | None = self._tokenizer.id_to_token(token)
        return name

    def added_tokens(self) -> dict[int, bool]:
        """Lists the tokens of the file's `added_tokens`, and whether they are special; an ordinary piece may have any name."""
        return {int(i): bool(token.special) for i, token in self._tokenizer.get_added_tokens_decoder().items()}

    @functools.cached_property
    def word_starts(self) -> npt.NDArray[np.bool_] | None:
        """Tells which tokens begin a word, bool [vocab_size], by "▁" or "Ġ" at their front or no "##"; None where tokens do not tell."""
        prefix, begins_word = self._word_prefix
        if not prefix:
            return None
        special = set(self._tokenizer.get_added_tokens_decoder())
        pieces = [self.piece(token) for token in range(self.vocab_size)]
        has = [piece is not None and i not in special and piece.startswith(prefix) == begins_word for i, piece in enumerate(pieces)]
        return np.array(has) if any(has) else None

    def encode(self, text: str) -> list[int]:
        """Turns one text into ids."""
        tokenizer = self._tokenizer
        with self._refusals():
            ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Says in our words what the library raises on text that the tokenizer has no token for.

        Raises:
          VocabularyError: see above.
        """
        try:
            yield
        except Exception as error:  # the library raises no class of its own
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
        tokenizer = self._tokenizer
        parts = [np.zeros(0, dtype=np.int32)]
        lengths = [np.zeros(0, dtype=np.int64)]
        for documents in _portions(text, offsets):
            with self._refusals():
                ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(documents, add_special_tokens=False)]
            lengths.append(np.fromiter(map(len, ids), dtype=np.int64, count=len(ids)))
            parts.append(np.fromiter(itertools.chain.from_iterable(ids), dtype=np.int32, count=int(lengths[-1].sum())))
        return np.concatenate(parts), np.concatenate(lengths)

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once, with the offsets that the library reports; parts of a character have all of it."""
        tokenizer = self._tokenizer
        parts = [np.zeros((3, 0), dtype=np.int32)]
        lengths = [np.zeros(0, dtype=np.int64)]
        for documents in _portions(text, offsets):
            with self._refusals():
                encoded = tokenizer.encode_batch(documents, add_special_tokens=False)
            found = [(encoding.ids, encoding.offsets) for encoding in encoded]
            lengths.append(np.fromiter((len(ids) for ids, _ in found), dtype=np.int64, count=len(found)))
            count = int(lengths[-1].sum())
            ids = np.fromiter(itertools.chain.from_iterable(ids for ids, _ in found), dtype=np.int32, count=count)
            pairs = itertools.chain.from_iterable(itertools.chain.from_iterable(spans for _, spans in found))
            spans = np.fromiter(pairs, dtype=np.int32, count=2 * count).reshape(-1, 2)
            parts.append(np.stack([ids, spans[:, 0], spans[:, 1]]))
        tokens, begins, ends = np.concatenate(parts, axis=1)
        return tokens, np.concatenate(lengths), begins, ends


def _portions(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Iterator[list[str]]:
    """Cuts a block into lists of documents, of about `_PORTION_BYTES` each."""
    start = 0
    while start < len(offsets) - 1:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _PORTION_BYTES, side="right")) - 1)
        data = text[offsets[start] : offsets[stop]].tobytes()
        bounds = (offsets[start : stop + 1] - offsets[start]).tolist()
        yield [data[a:b].decode() for a, b in itertools.pairwise(bounds)]
        start = stop


def _word_prefix(tokenizer: dict[str, Any]) -> tuple[str, bool]:
    """Finds what tells the beginnings of words in a `tokenizer.json`: a prefix of tokens, and whether it marks them or the other tokens."""
    model = tokenizer.get("model") or {}
    if model.get("type") == "WordPiece":
        return model.get("continuing_subword_prefix") or "", False
    steps: list[Any] = []
    for name in ("pre_tokenizer", "decoder"):
        step = tokenizer.get(name) or {}
        steps += [step, *step.get("pretokenizers", []), *step.get("decoders", [])]
    kinds = {step.get("type") for step in steps}
    return ("Ġ" if "ByteLevel" in kinds else "▁"), True


def _count_ids(path: str, tokens: Mapping[str, int]) -> int:
    """Counts the ids up to the highest, which may have gaps.

    Raises:
      VocabularyError: an id is so high that arrays of all of them would not fit into memory.
    """
    highest = max(tokens.values())
    if highest >= _MOST_IDS:
        raise VocabularyError(f"{path}: the tokenizer has {len(tokens):,} tokens and gives one the id {highest:,}. Use lower ids.")
    return highest + 1
