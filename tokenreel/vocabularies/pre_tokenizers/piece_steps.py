"""From the steps of a `tokenizer.json` whose words begin with a space, as SentencePiece's do (Metaspace), to where texts may be cut.

Tested in tests/tokenreel/vocabularies/test_word_path.py.
"""

from __future__ import annotations

import functools
import itertools
import string
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenreel.vocabularies.pre_tokenizers import code_points
from tokenreel.vocabularies.pre_tokenizers.letters import Letter
from tokenreel.vocabularies.pre_tokenizers.plain_letters import Run, find_runs, joins
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised
from tokenreel.vocabularies.pre_tokenizers.word_steps import flat, tokenizer

Step = Mapping[str, Any]
_BY_CHARACTER = {"Precompiled", "NFC", "NFKC", "NFD", "NFKD", "Lowercase", "StripAccents", "Nmt"}
_RUNS = {" {2,}", r"\s{2,}", " +", r"\s+"}  # patterns of spaces alone
_CLUSTERED_BY = {"Precompiled", "NFC", "NFKC", "NFD", "NFKD"}  # do not go by characters where these join
_WIDE = "\u4e2d"  # an ideograph: of three bytes, and no mark's base
_RULED_BYTES = 6  # `Precompiled` looks for rules of clusters that have fewer, and goes by the characters of others
_ASKED = 512  # characters at once
_SPACES = " \t\n\r\v\f"
# Characters that are one with what stands behind them (`GCB=Prepend` of Unicode Standard Annex 29) and are no format characters.
_PREPENDED = {0x0D4E, 0x111C2, 0x111C3, 0x1193F, 0x11941, 0x11A3A, *range(0x11A84, 0x11A8A), 0x11D46, 0x11F02}
# Characters that may join what stands before or behind them, beside those that `joins` knows.
_CLUSTERED = {*range(0x1100, 0x1160), *range(0xA960, 0xA97D), *range(0x1F1E6, 0x1F200), *range(0x1F3FB, 0x1F400)}
# Jamo and flags join their like alone, which have as many bytes.
_PAIRED = {*range(0x1100, 0x1200), *range(0xA960, 0xA97D), *range(0xD7B0, 0xD7FC), *range(0x1F1E6, 0x1F200)}


def is_metaspace(pre_tokenizer: Step | None) -> bool:
    """Tells whether words begin with a written space."""
    return any(step.get("type") == "Metaspace" for step in flat(pre_tokenizer, "pretokenizers"))


def recognise(normalizer: Step | None, pre_tokenizer: Step | None) -> str:
    """Reads the steps before a model: `normalizer` and `pre_tokenizer` of a file. Gives their names, for people.

    Raises:
      NotRecognised: they do something that is not known here.
    """
    steps = flat(normalizer, "normalizers")
    for number, step in enumerate(steps):
        kind = step.get("type")
        if kind == "Replace":
            pattern = step.get("pattern") or {}
            plain = str(pattern.get("String") or "")
            known = pattern.get("Regex") in _RUNS or (plain != "" and not any(letter.isspace() for letter in plain))
            if not known or not step.get("content") or (not plain and step["content"] not in (" ", "▁")):
                raise NotRecognised(f"the normaliser Replace of {pattern}")
        elif kind == "Prepend" and number:
            raise NotRecognised("the normaliser Prepend behind others")
        elif kind not in _BY_CHARACTER | {"Strip", "Prepend"}:
            raise NotRecognised(f"the normaliser {kind}")
    splits = flat(pre_tokenizer, "pretokenizers")
    kinds = [step.get("type") for step in splits]
    if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        raise NotRecognised(f"the pre-tokenizers {', '.join(map(str, kinds))}")
    if not splits[-1].get("split", True):
        raise NotRecognised("Metaspace that does not split")
    if len(splits) > 1 and any(step.get("content") == "▁" for step in steps):  # which `WhitespaceSplit` takes for no space
        raise NotRecognised("the normaliser Replace that writes spaces as ▁, before WhitespaceSplit")
    return ", ".join(step["type"] for step in [*steps, *splits])


class PieceSteps:
    """What cuts texts.

    Attributes:
      allowed: [CLASSES * CLASSES] bool, of `kernels.word_units.cut_words`.
      splits_runs: likewise.
      spaces: the arguments of this name of `kernels.word_units.spell`.
      flags: the flags on which it depends what a unit becomes.
    """

    def __init__(self, normalizer: Step | None, pre_tokenizer: Step | None) -> None:
        """Loads steps that `recognise` knows."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        self._normalizers, self._splits = flat(normalizer, "normalizers"), flat(pre_tokenizer, "pretokenizers")
        # Where words are split at spaces first, the written space is put before their first character.
        splits = len(self._splits) > 1
        joins_runs = bool(self._normalizers) and (self._normalizers[-1].get("pattern") or {}).get("Regex") in _RUNS
        self.splits_runs = not self._normalizers and len(self._splits) == 1
        self._patterns = {letter for step in self._normalizers if step["type"] == "Replace" for letter in step["pattern"].get("String", "")}
        # Where the rules remove the first character, the library counts the characters of all that follows from a wrong place.
        self._shifts = any(step["type"] == "Precompiled" for step in self._normalizers)
        self._joins = any(step["type"] in _CLUSTERED_BY for step in self._normalizers)
        self.allowed = np.zeros(word_units.CLASSES**2, dtype=bool)
        for kind in (word_units.WORD, word_units.GLUED):
            self.allowed[kind * word_units.CLASSES + word_units.SPACE] = True
        strips = [step for step in self._normalizers if step["type"] == "Strip"]
        begins = any(step["strip_left"] for step in strips) or any(step["type"] == "Prepend" for step in self._normalizers)
        self.flags = word_units.BEGINS * begins | word_units.FIRST * (self._splits[-1].get("prepend_scheme") == "first")
        self.flags |= word_units.ENDS * bool(self._normalizers)
        self._within = self.steps_for(0)
        self._spaces = {character for character in _SPACES if self._is_space(character)}
        fronts = np.array([self._front(flags & self.flags) for flags in range(word_units.FLAGS)], dtype=np.uint8)
        joined = word_units.JOINED if splits or joins_runs else word_units.EACH if self._keeps_runs() else word_units.ONE
        # Where only `Precompiled` goes by clusters, and sees the text itself, long ones are characters one by one.
        kinds = [step["type"] for step in self._normalizers]
        rules_alone = kinds[:1] == ["Precompiled"] and sum(kind in _CLUSTERED_BY for kind in kinds) == 1
        wide = rules_alone and _WIDE not in self._patterns and self.normalize(2 * _WIDE) == 2 * _WIDE
        self._ruled = _RULED_BYTES if wide else 0
        self.spaces = joined, splits, fronts, self._ruled

    @functools.cache  # noqa: B019  (there are few flags, and few objects)
    def steps_for(self, flags: int) -> tuple[Any, Any]:
        """Gives the library's normaliser and pre-tokenizer for units with these flags: others than all keep what belongs to them alone."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        begins, ends = bool(flags & word_units.BEGINS), bool(flags & word_units.ENDS)
        kept: list[Step] = []
        for step in self._normalizers:
            if step["type"] == "Strip":
                kept.append({**step, "strip_left": step["strip_left"] and begins, "strip_right": step["strip_right"] and ends})
            elif step["type"] != "Prepend" or begins:
                kept.append(step)
        *before, last = self._splits
        if last.get("prepend_scheme") == "first" and not flags & word_units.FIRST:
            last = {**last, "prepend_scheme": "never", "add_prefix_space": False}
        splits = {"type": "Sequence", "pretokenizers": [*before, last]}
        normalizer = {"type": "Sequence", "normalizers": kept} if kept else None
        library = tokenizer(normalizer, splits, {"type": "WordLevel", "vocab": {}, "unk_token": ""})
        return library.normalizer, library.pre_tokenizer

    @functools.cache  # noqa: B019  (likewise)
    def _front(self, flags: int) -> int:
        """Says what becomes of units with these flags, as `kernels.word_units.spell` takes it; those within a text begin with a space."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        begins = bool(flags & word_units.BEGINS)  # spaces there are stripped, or something is put before them
        found = word_units.HARD_AT_SPACE * begins
        if begins and any(step["type"] == "Prepend" for step in self._normalizers):
            return found | word_units.HARD_AT_OTHERS
        normalizer, splitter = self.steps_for(flags)
        for letter in string.ascii_lowercase:
            if letter not in self._patterns and self.normalize(letter) == letter:
                words = splitter.pre_tokenize_str(normalizer.normalize_str(letter) if normalizer else letter)
                return found | {letter: 0, f"▁{letter}": word_units.PREFIXED}.get(words[0][0], word_units.HARD_AT_OTHERS)
        return found | word_units.HARD_AT_OTHERS

    def normalize(self, text: str) -> str:
        """Normalises a unit within a text."""
        normalizer = self._within[0]
        normal: str = normalizer.normalize_str(text) if normalizer else text
        return normal

    def cuts_badly(self, text: str, flags: int) -> bool:
        """Tells whether a unit that the library encodes is not one for itself: its end is a space, or its beginning no longer is one."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        if self._shifts and self._vanishes(text[0]):
            return True
        normal = self.normalize(text)
        if self.flags & word_units.ENDS and not flags & word_units.ENDS:
            # What is put before a text may be one cluster with its beginning.
            wholes = (normal, self.steps_for(flags)[0].normalize_str(text)) if flags else (normal,)
            if any(each[-1:] in ("", "▁") or each[-1].isspace() for each in wholes):
                return True
        return text[0] in self._spaces and normal[:1] not in (" ", "▁")

    @functools.cache  # noqa: B019  (there are some thousand characters, and few objects)
    def _vanishes(self, character: str) -> bool:
        """Tells whether nothing is written for a character that begins a unit."""
        return not self.normalize(character)

    def _keeps_runs(self) -> bool:
        """Tells whether each of several spaces is a word, but for the last one, whatever spaces they are."""
        known = self._spaces - {"\r"}  # of which it takes the library to say
        kept = all(self._words_of(f"a{first}{second}a") == ["▁a", "▁", "▁a"] for first in known for second in known)
        return kept and self._words_of("a   a") == ["▁a", "▁", "▁", "▁a"]

    def _is_space(self, character: str) -> bool:
        return self._words_of(f"a{character}a") == self._words_of("a a")

    def _words_of(self, text: str) -> list[str]:
        return [word for word, _ in self._within[1].pre_tokenize_str(self.normalize(text))]

    def find_runs(self) -> list[Run]:
        """Finds runs of characters that are written as they are."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        if not self._normalizers and len(self._splits) == 1:  # all but a space, and what it is written as
            ends = (0, ord(" "), ord("▁"), 0xD800, 0xDFFF, code_points.END)  # no text has surrogates
            return [(first + (first > 0), end, word_units.ITSELF) for first, end in itertools.pairwise(ends) if first != 0xD800]
        return find_runs(self._ask_run, ("Lo", "So"), {*map(ord, self._patterns), *_PREPENDED, *_CLUSTERED})

    def _ask_run(self, characters: str) -> int | None:
        """Says which row all of some characters have that are no spaces."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        space = self.normalize("a a")[1:-1]
        normal = self.normalize("".join(f"a{character} {character}" for character in characters))
        return word_units.ITSELF if normal == "".join(f"a{character}{space}{character}" for character in characters) else None

    def ask(self, characters: str) -> list[Letter]:
        """Says what becomes of each of some characters."""
        simple = "".join(character for character in characters if self._is_simple(character))
        found: dict[str, Letter] = {}
        for i in range(0, len(simple), _ASKED):
            found |= self._ask_simple(simple[i : i + _ASKED])
        return [found.get(character) or self._ask(character) for character in characters]

    def _is_simple(self, character: str) -> bool:
        """Tells whether a character is one by itself, for all that is known of it without asking."""
        if unicodedata.category(character)[0] not in "LNPS" or character in self._spaces or character in self._patterns:
            return False
        point = ord(character)
        return not (point in _PREPENDED or point in _CLUSTERED or joins(unicodedata.normalize("NFKD", character)[0]))

    def _ask_simple(self, characters: str) -> dict[str, Letter]:
        """Asks for characters together, between letters and spaces that keep them apart; gives those of which that tells all."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        words = self._words_of("".join(f" a{character}a" for character in characters))
        if len(words) == len(characters):
            normals = [word[2:-1] for word in words]
            framed = all(map(str.__eq__, words, [f"▁a{normal}a" for normal in normals])) and all(normals)
            ends = self.normalize(" a")
            before_spaces = self.normalize("".join(f"{character} a" for character in characters))
            if framed and before_spaces == "".join(f"{normal}{ends}" for normal in normals):
                return {
                    character: Letter(word_units.WORD, normal.encode())
                    for character, normal in zip(characters, normals, strict=True)
                    if normal[-1] != "▁"
                }
        half = len(characters) // 2
        return self._ask_simple(characters[:half]) | self._ask_simple(characters[half:]) if half > 1 else {}

    def _is_ruled_alone(self, character: str) -> bool:
        """Tells whether a character that joins others has no rules with those of three bytes."""
        return self._ruled > 0 and len(f"{_WIDE}{character}".encode()) >= self._ruled

    def _ask(self, character: str) -> Letter:
        """Says what becomes of a character."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        point, category = ord(character), unicodedata.category(character)
        if character in self._spaces:
            # A carriage return is one with a line feed behind it.
            return Letter(word_units.SPACE, None if character == "\r" else b"\xff" + "▁".encode())
        normal = self.normalize(character)
        first = self.normalize(f"{character} a")
        if (
            not normal
            or normal[-1].isspace()
            or normal[-1] == "▁"
            or category == "Cf"
            or point in _PREPENDED
            or first != normal + self.normalize(" a")
        ):
            return Letter(word_units.STICKY, None)
        glued = self._joins and (joins(unicodedata.normalize("NFKD", character)[0]) or point in _CLUSTERED or category == "Cn")
        if character in self._patterns or (glued and not self._is_ruled_alone(character)):
            return Letter(word_units.WORD, None)
        side = _WIDE if glued else "a"
        words, frame = self._words_of(f" {side}{character}{side}"), f"▁{side}"
        if len(words) != 1 or not words[0].startswith(frame) or not words[0].endswith(side):
            return Letter(word_units.WORD, None)
        kind = word_units.GLUED if glued and point not in _PAIRED else word_units.WORD
        return Letter(kind, words[0][len(frame) : -1].encode())
