"""Characters as tokens: one id for each code point that the model file lists."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.errors import PATHS_BEGIN, VocabularyError
from tokenreel.storage import files
from tokenreel.vocabularies import character_offsets
from tokenreel.vocabularies.base import Vocabulary, check_unpacked
from tokenreel.wording import brief

FORMAT = "tokenreel-characters-1"
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
_NAMES = (("<mask>", "[MASK]"), ("<cls>", "[CLS]"), ("<sep>", "[SEP]"))  # what a mask, a classifier's token and a separator are called


def _nfkc_casefold(text: str) -> str:
    """Turns text into Unicode's compatibility caseless form (definition D146), which stays the same when it is applied again."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFKC", folded.casefold())


NORMALIZERS: Mapping[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "nfc": functools.partial(unicodedata.normalize, "NFC"),
    "nfkc": functools.partial(unicodedata.normalize, "NFKC"),
    "nfkc_casefold": _nfkc_casefold,
    "nfd": functools.partial(unicodedata.normalize, "NFD"),
    "nfkd": functools.partial(unicodedata.normalize, "NFKD"),
    "lowercase": str.lower,
}


def normalize(text: str, name: str) -> str:
    """Applies a normaliser to a whole document. NUL bytes neither come, go, nor let characters on their two sides act on each other.

    The tables are Python's (`unicodedata.unidata_version`): a newer Python may treat characters that Unicode added since otherwise.

    Raises:
      VocabularyError: there is no normaliser of the name.

    >>> normalize("Ⅳ ﬁn", "nfkc_casefold")
    'iv fin'
    """
    if name not in NORMALIZERS:
        raise VocabularyError(f"a character model's normalizer is one of {', '.join(NORMALIZERS)}, got {name!r}")
    return NORMALIZERS[name](text)


def write_character_model(
    path: str, characters: Sequence[str], normalizer: str, counts: Sequence[int] | None = None, specials: Sequence[str] = ()
) -> None:
    """Writes a model file.

    Args:
      path: local or `gs://`.
      characters: in the order of their ids, which begin behind the specials.
      normalizer: a name that `normalize` knows.
      counts: how often each character was seen, kept for whoever looks; decides nothing.
      specials: names of further ids, such as `<mask>` and `<cls>`, behind the four (`<pad>`, `<s>`, `</s>`, `<unk>`).

    Raises:
      VocabularyError: something is not a character, comes twice, or the counts are not as many.
    """
    model: dict[str, Any] = {"format": FORMAT, "normalizer": normalizer, "specials": [*SPECIALS, *specials], "characters": list(characters)}
    if counts is not None:
        model["counts"] = [int(count) for count in counts]
    data = (json.dumps(model, ensure_ascii=True, indent=0, sort_keys=True) + "\n").encode()
    _parse(path, data)
    files.write_bytes(path, data)


def _parse(path: str, data: bytes) -> tuple[str, list[str], list[str]]:
    """Reads the normaliser, the specials and the characters of a model file.

    Raises:
      VocabularyError: the bytes are no character model.
    """

    def check(condition: bool, problem: str) -> None:
        if not condition:
            raise VocabularyError(f"{path}: not a character model ({problem}). Give a JSON file in the format {FORMAT}.")

    try:
        model = json.loads(data)
    except (ValueError, RecursionError) as error:
        model = None
        check(False, str(error))
    check(isinstance(model, dict) and model.get("format") == FORMAT, f"its format is not {FORMAT!r}")
    unknown = set(model) - {"format", "characters", "normalizer", "specials", "counts"}
    check(not unknown, f"unknown entries {brief(sorted(unknown))}")
    normalizer, specials, characters = model.get("normalizer"), model.get("specials", list(SPECIALS)), model.get("characters")
    known = isinstance(normalizer, str) and normalizer in NORMALIZERS
    check(known, f"its normalizer {brief(normalizer)} is none of {', '.join(NORMALIZERS)}")
    check(_texts(specials) and len(set(specials)) == len(specials), "its specials are not a list of different names")
    check("<unk>" in specials, "its specials lack <unk>, for characters that it does not list")
    check(all(len(name) > 1 for name in specials), "a special is a single character")
    check(_texts(characters) and bool(characters), "its characters are not a list of texts")
    wrong = next((character for character in characters if len(character) != 1 or "\ud800" <= character <= "\udfff"), None)
    check(wrong is None, f"{brief(wrong)} is not one character")
    check(len(set(characters)) == len(characters), "a character comes twice")
    counts = model.get("counts")
    check(counts is None or (isinstance(counts, list) and len(counts) == len(characters)), "its counts are not as many as its characters")
    return normalizer, specials, characters


def _texts(values: Any) -> bool:
    """Tells whether something is a list of strings."""
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


class CharacterVocabulary(Vocabulary):
    """A list of characters; all others are `<unk>`. Ids: the specials, then the characters, in the order of the file."""

    def __init__(self, path: str, data: bytes | None = None) -> None:
        """Reads the model.

        Args:
          path: of a JSON file as `write_character_model` writes it.
          data: the file's content, where it was read already.

        Raises:
          VocabularyError: the file cannot be read or is no model.
        """
        try:
            self.data: bytes | None = files.read_bytes(path) if data is None else data
        except OSError as error:
            raise VocabularyError(
                f"{path}: cannot read the character model ({error.strerror or error}). Check vocabulary.path; `tokenreel train-tokenizer` "
                f"with kind: characters makes a model. {PATHS_BEGIN}"
            ) from error
        self.normalizer, specials, characters = _parse(path, check_unpacked(path, self.data))
        self._pieces = specials + characters
        self._num_specials = len(specials)
        self.vocab_size = len(self._pieces)
        ids = {name: i for i, name in enumerate(specials)}
        self.pad_id, self.bos_id, self.eos_id = (ids.get(name) for name in ("<pad>", "<s>", "</s>"))
        self.unk_id: int | None = ids["<unk>"]
        self.mask_id, self.cls_id, self.sep_id = (next((ids[name] for name in names if name in ids), None) for names in _NAMES)
        self.fingerprint = keys.digest("characters", self.normalizer, json.dumps([specials, characters]))
        self.releases_gil = self.normalizer == "none"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_table", "_ids_by_piece")}

    @functools.cached_property
    def _table(self) -> npt.NDArray[np.int32]:
        """Maps code points to ids: int32, up to one above the highest that the model lists, which stands for all beyond."""
        points = np.array([ord(character) for character in self._pieces[self._num_specials :]])
        table = np.full(int(points.max()) + 2, self.unk_id, dtype=np.int32)
        table[points] = self._num_specials + np.arange(len(points), dtype=np.int32)
        return table

    def piece(self, token: int) -> str | None:
        """Writes a token: the character, or the name of a special."""
        return self._pieces[token]

    def added_tokens(self) -> dict[int, bool]:
        """Lists the specials."""
        return dict.fromkeys(range(self._num_specials), True)

    @functools.cached_property
    def word_starts(self) -> npt.NDArray[np.bool_] | None:
        """Tells nothing (None): a character does not show whether it begins a word."""
        return None

    @property
    def characters(self) -> list[str | None] | None:
        """Lists what each id stands for; None for specials."""
        return [None] * self._num_specials + list(self._pieces[self._num_specials :])

    def encode(self, text: str) -> list[int]:
        """Turns one text into ids."""
        points = _code_points(normalize(text, self.normalizer))
        ids: list[int] = np.take(self._table, points, mode="clip").tolist()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Turns ids into text: `<unk>` is U+FFFD, other specials are left out; what the normaliser changed does not come back."""
        listed = (int(i) for i in ids)
        return "".join("\ufffd" if i == self.unk_id else self._pieces[i] for i in listed if i == self.unk_id or i >= self._num_specials)

    def encode_block(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Encodes many documents at once."""
        # NUL behind each document keeps its characters from those of the next; the normaliser leaves NULs alone, so they can be counted.
        separated, bounds = ragged.surround(text, offsets, None, 0)
        points = _code_points(normalize(separated.tobytes().decode(), self.normalizer))
        nul = np.searchsorted(np.flatnonzero(separated == 0), bounds[1:]) - 1  # which NUL ends each document
        ends = np.flatnonzero(points == 0)[nul]
        inside = np.ones(len(points), dtype=bool)
        inside[ends] = False
        return np.take(self._table, points[inside], mode="clip"), np.diff(ends, prepend=-1) - 1

    def encode_block_with_offsets(
        self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Encodes many documents at once; what the normaliser made of a character and its marks has the span of them all."""
        tokens, lengths = self.encode_block(text, offsets)
        bounds = ragged.offsets_of(lengths)
        begins = np.arange(len(tokens)) - np.repeat(bounds[:-1], lengths)
        ends = begins + 1
        if self.normalizer != "none":  # every normaliser gives one character for each of ASCII
            beyond = np.flatnonzero(text >= 0x80)
            for document in np.unique(np.searchsorted(offsets, beyond, side="right") - 1).tolist():
                data = text[offsets[document] : offsets[document + 1]].tobytes().decode()
                here = slice(bounds[document], bounds[document + 1])
                begins[here], ends[here] = character_offsets.locate(data, NORMALIZERS[self.normalizer])
        return tokens, lengths, begins.astype(np.int32), ends.astype(np.int32)


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    """Gives the code point of each character; lone surrogates too, for a Python string may hold them."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
