"""From the steps of a `tokenizer.json` to where texts may be cut, where a model sees words one by one.

Tested in tests/tokenreel/vocabularies/test_word_path.py.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.vocabularies.pre_tokenizers import letters
from tokenreel.vocabularies.pre_tokenizers.letters import Letter
from tokenreel.vocabularies.pre_tokenizers.plain_letters import Run, find_runs
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised

_COMPOSE, _DECOMPOSE = {"NFC", "NFKC"}, {"NFD", "NFKD"}
_BY_CHARACTER = {"BertNormalizer", "Lowercase", "StripAccents", "Nmt", "Strip"}  # `Strip` strips spaces, which are no part of words
_ENDS_WORDS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_ALSO = {"Punctuation", "Digits"}


def flat(step: Mapping[str, Any] | None, parts: str) -> list[Mapping[str, Any]]:
    """Lists the steps of a `Sequence`, which has them under the name `parts`; a step by itself is one."""
    if step is None:
        return []
    if step.get("type") != "Sequence":
        return [step]
    return [each for part in step.get(parts, []) for each in flat(part, parts)]


def recognise(normalizer: Mapping[str, Any] | None, pre_tokenizer: Mapping[str, Any] | None) -> str:
    """Reads the steps before a model: `normalizer` and `pre_tokenizer` of a file. Gives their names, for people.

    Raises:
      NotRecognised: they do something that is not known here.
    """
    changed = False
    for step in flat(normalizer, "normalizers"):
        kind = step.get("type")
        if kind not in _BY_CHARACTER | _DECOMPOSE and not (kind in _COMPOSE and not changed):
            raise NotRecognised(f"the normaliser {kind}" + (" behind others" if kind in _COMPOSE else ""))
        changed |= kind not in _COMPOSE
    steps = flat(pre_tokenizer, "pretokenizers")
    for step in steps:
        kind, behavior = step.get("type"), step.get("behavior", "Isolated")
        if kind not in _ENDS_WORDS | _ALSO or (kind == "Punctuation" and behavior not in ("Isolated", "Contiguous")):
            raise NotRecognised(f"the pre-tokenizer {kind}")
    if not any(step["type"] in _ENDS_WORDS for step in steps):
        raise NotRecognised("the pre-tokenizer leaves spaces in words" if steps else "there is no pre-tokenizer")
    return ", ".join(step["type"] for step in [*flat(normalizer, "normalizers"), *steps])


def tokenizer(normalizer: Any, pre_tokenizer: Any, model: Mapping[str, Any]) -> Any:
    """Loads steps and a model into the library, and nothing else: no added tokens, no post-processor."""
    import tokenizers

    content = {"version": "1.0", "added_tokens": [], "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "model": model}
    return tokenizers.Tokenizer.from_str(json.dumps(content))


class WordSteps:
    """What cuts texts.

    Attributes:
      allowed: [CLASSES * CLASSES] bool, of `kernels.word_units.cut_words`.
      splits_runs: likewise.
      spaces: the arguments of this name of `kernels.word_units.spell`.
      flags: the flags on which it depends what a unit becomes.
    """

    splits_runs, spaces, flags = True, (0, False, np.zeros(0, dtype=np.uint8), 0), 0

    def __init__(self, normalizer: Mapping[str, Any] | None, pre_tokenizer: Mapping[str, Any] | None) -> None:
        """Loads steps that `recognise` knows."""
        steps = flat(normalizer, "normalizers")
        kinds = {step["type"] for step in steps}
        stripping = [step.get("lowercase", True) if step.get("strip_accents") is None else step["strip_accents"] for step in steps]
        self._decomposes = bool(kinds & _DECOMPOSE) or any(
            strips for step, strips in zip(steps, stripping, strict=True) if step["type"] == "BertNormalizer"
        )
        self._composes = bool(kinds & _COMPOSE)
        library = tokenizer(normalizer, pre_tokenizer, {"type": "WordLevel", "vocab": {}, "unk_token": ""})
        self._normalizer, self._pre_tokenizer = self._steps = library.normalizer, library.pre_tokenizer
        self.allowed = _allowed()

    def steps_for(self, flags: int) -> tuple[Any, Any]:
        """Gives the library's normaliser and pre-tokenizer, which are the same for all units."""
        return self._steps

    def cuts_badly(self, text: str, flags: int) -> bool:
        """Tells whether a unit is not one for itself: never."""
        return False

    def _normalize(self, text: str) -> str:
        normal: str = self._normalizer.normalize_str(text) if self._normalizer else text
        return normal

    def _words_of(self, text: str) -> list[str]:
        return [word for word, _ in self._pre_tokenizer.pre_tokenize_str(self._normalize(text))]

    def find_runs(self) -> list[Run]:
        """Finds runs of characters that are written as they are."""
        return find_runs(self._ask_run, ("Lo",))

    def _ask_run(self, characters: str) -> int | None:
        """Says which row all of some letters have."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        text = f"a{'a'.join(characters)}a"
        normal = self._normalize(text)
        if normal == text and self._words_of(text) == [text]:
            return word_units.ITSELF
        if normal == unicodedata.normalize("NFD", text) and all("가" <= character <= "힣" for character in characters):
            return word_units.JAMO if self._words_of(text) == [normal] else None
        # Words end at the spaces, and what stands between two of them is a letter.
        return word_units.APART if normal == f"a {' a '.join(characters)} a" else None

    def ask(self, characters: str) -> list[Letter]:
        """Says what becomes of each of some characters."""
        return letters.of_words(self._normalize, self._words_of, characters, decomposes=self._decomposes, composes=self._composes)


def _allowed() -> npt.NDArray[np.bool_]:
    """Says between which classes words end, whatever stands around."""
    from tokenreel.vocabularies.unit_memo.kernels import word_units

    allowed = np.zeros((word_units.CLASSES, word_units.CLASSES), dtype=bool)
    allowed[[word_units.WORD, word_units.ALONE, word_units.LIKE, word_units.GLUED], word_units.SPACE] = True
    allowed[word_units.ALONE, [word_units.WORD, word_units.ALONE, word_units.LIKE]] = allowed[
        [word_units.WORD, word_units.LIKE], word_units.ALONE
    ] = True
    allowed[word_units.WORD, word_units.LIKE] = allowed[word_units.LIKE, word_units.WORD] = True
    return allowed.ravel()
