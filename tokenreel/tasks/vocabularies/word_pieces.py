"""BERT's word pieces (Devlin et al. 2019, arXiv:1810.04805), as TensorFlow Text cuts them."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from tokenreel import keys
from tokenreel.errors import VocabularyError
from tokenreel.storage import files
from tokenreel.tasks.vocabularies.base import Vocabulary

_ASCII_MARKS = frozenset(chr(i) for i in (*range(0x21, 0x30), *range(0x3A, 0x41), *range(0x5B, 0x61), *range(0x7B, 0x7F)))
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)  # fmt: skip
# What Unicode's NFKC_Casefold leaves out (Default_Ignorable_Code_Point).
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_UNUSED = re.compile(r"\[unused\d+\]")


class BertWordPieceVocabulary(Vocabulary):
    """Word pieces of a `vocab.txt`, the longest first; an id more than the file has lines is counted, as in SeqIO.

    `encode` gives the ids of all pieces in a row. SeqIO's own gives one row for each word, filled up with 0, as soon as a word has two.
    """

    def __init__(
        self,
        vocab_lookup_table: str,
        suffix_indicator: str = "##",
        max_bytes_per_word: int = 100,
        max_chars_per_token: int | None = None,
        token_out_type: Any = None,
        unknown_token: str | None = "[UNK]",
        split_unknown_characters: bool = False,
        lower_case: bool = False,
        keep_whitespace: bool = False,
        normalization_form: str | None = None,
        preserve_unused_token: bool = False,
        pad_id: int = 0,
        start_of_sequence_id: int = 101,
        end_of_sequence_id: int = 102,
    ) -> None:
        r"""Reads the vocabulary.

        Args:
          vocab_lookup_table: path of the file of pieces, one a line.
          suffix_indicator: begins pieces that do not begin a word.
          max_bytes_per_word: longer words are unknown.
          max_chars_per_token: longest piece in characters, without the indicator; None asks the file.
          token_out_type: is there for SeqIO's sake: ids are given, whatever it says.
          unknown_token: piece of what has no piece; None gives such words the id behind the last.
          split_unknown_characters: whether a character without a piece is one unknown piece, and not its whole word.
          lower_case: whether capitals and accents are removed.
          keep_whitespace: whether runs of spaces are words too.
          normalization_form: NFC, NFD, NFKC or NFKD, where `lower_case` is off.
          preserve_unused_token: whether `[unused1]` and the like stay in one piece.
          pad_id: id of `[PAD]`.
          start_of_sequence_id: id of `[CLS]`.
          end_of_sequence_id: id of `[SEP]`.

        Raises:
          VocabularyError: the file cannot be read, or has not the unknown piece.
        """
        try:
            data = files.read_bytes(vocab_lookup_table)
        except OSError as error:
            raise VocabularyError(f"{vocab_lookup_table}: cannot read the pieces ({error.strerror or error}). Give a vocab.txt.") from error
        self._path, self._digest = vocab_lookup_table, keys.digest(data)
        self._pieces = data.decode("utf-8", "replace").removesuffix("\n").split("\n")
        self._ids = {piece: i for i, piece in enumerate(self._pieces)}
        if unknown_token is not None and unknown_token not in self._ids:
            raise VocabularyError(f"{vocab_lookup_table}: there is no piece {unknown_token!r}; name the file's own with unknown_token")
        self._suffix, self._max_bytes, self._max_characters = suffix_indicator, max_bytes_per_word, max_chars_per_token
        self._unknown, self._split_unknown, self._lower_case = unknown_token, split_unknown_characters, lower_case
        self._keep_whitespace, self._form, self._keep_unused = keep_whitespace, normalization_form, preserve_unused_token
        self._pad_id, self._sos_id, self._eos_id = pad_id, start_of_sequence_id, end_of_sequence_id
        super().__init__()

    @property
    def sos_id(self) -> int:
        """The id of `[CLS]`."""
        return self._sos_id

    @property
    def eos_id(self) -> int:
        """The id of `[SEP]`."""
        return self._eos_id

    @property
    def unk_id(self) -> int:
        """The id of the unknown piece."""
        return len(self._pieces) if self._unknown is None else self._ids[self._unknown]

    @property
    def pad_id(self) -> int:
        """The id of `[PAD]`."""
        return self._pad_id

    @property
    def _base_vocab_size(self) -> int:
        return len(self._pieces) + 1  # TensorFlow's table keeps an id for what it does not hold

    @property
    def fingerprint(self) -> str:
        """See `Vocabulary`."""
        return keys.digest("word_pieces", repr({name: value for name, value in sorted(vars(self).items()) if name not in _LOADED}))

    def _encode(self, s: str) -> list[int]:
        return [i for word in self._words(s) for i in self._cut(word)]

    def _words(self, text: str) -> Iterator[str]:
        """Splits a text at spaces, and marks and ideographs from everything; control characters count as spaces."""
        if self._lower_case:
            text = _IGNORED.sub("", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.casefold()).casefold()))
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        elif self._form is not None:
            text = unicodedata.normalize(self._form, text)  # type: ignore[arg-type]
        text = "".join(" " if unicodedata.category(c) in ("Cc", "Cf") else c for c in text)
        if not self._keep_unused:
            yield from self._split(text)
            return
        at = 0
        for found in _UNUSED.finditer(text):
            yield from self._split(text[at : found.start()])
            yield found[0]
            at = found.end()
        yield from self._split(text[at:])

    def _split(self, text: str) -> Iterator[str]:
        word = ""
        for character in text:
            if (character == " ") == (word[:1] == " ") and not _stands_alone(character):
                word += character
                continue
            if word and (self._keep_whitespace or word[0] != " "):
                yield word
            word = character
            if _stands_alone(character):
                yield character
                word = ""
        if word and (self._keep_whitespace or word[0] != " "):
            yield word

    def _cut(self, word: str) -> list[int]:
        """Cuts a word into the longest pieces from its beginning on."""
        if len(word.encode()) > self._max_bytes:
            return [self.unk_id]
        ids: list[int] = []
        start = 0
        while start < len(word):
            lead = self._suffix if start else ""
            longest = len(word) if self._max_characters is None else min(len(word), start + self._max_characters)
            end = next((end for end in range(longest, start, -1) if lead + word[start:end] in self._ids), None)
            if end is None and not self._split_unknown:
                return [self.unk_id]
            if end is None:  # behind the first, such a character has the id that TensorFlow's table keeps
                ids.append(len(self._pieces) if start else self.unk_id)
            else:
                ids.append(self._ids[lead + word[start:end]])
            start = start + 1 if end is None else end
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        return " ".join(self._pieces[i] if 0 <= i < len(self._pieces) else self._unknown or "" for i in map(int, ids))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BertWordPieceVocabulary) and (self._digest, self._sos_id) == (other._digest, other._sos_id)

    def __hash__(self) -> int:
        return hash((self._digest, self._sos_id))


_LOADED = frozenset({"_path", "_pieces", "_ids"})


@functools.lru_cache(maxsize=1 << 16)
def _stands_alone(character: str) -> bool:
    """Says whether a character is a word of its own: a mark, or an ideograph."""
    if character in _ASCII_MARKS or unicodedata.category(character).startswith("P"):
        return True
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)
