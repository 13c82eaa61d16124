"""Tokenizers' configurations as models come with them, and texts that are cut wrong by whoever cuts nearly right."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from tokenreel.vocabularies.pre_tokenizers import code_points

CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LOWER, _UPPER, _SHORT = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SHORT}|\p{{N}}{{1,3}}|{_REST}"
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}|{_REST}"
POSSESSIVE = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
DEEPSEEK = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",  # noqa: E501
)


def split(pattern: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    """A step that splits at a pattern."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def byte_level(*, use_regex: bool = False, add_prefix_space: bool = False) -> dict[str, Any]:
    """The step that all of them have."""
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def steps(*each: Mapping[str, Any]) -> dict[str, Any]:
    """Steps one after another."""
    return {"type": "Sequence", "pretokenizers": [*each]}


PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt2": byte_level(use_regex=True),
    "roberta": byte_level(use_regex=True, add_prefix_space=True),
    "cl100k": steps(split(CL100K), byte_level()),
    "cl100k_removed": steps(split(CL100K, "Removed", True), byte_level()),
    "possessive": steps(split(POSSESSIVE), byte_level()),
    "qwen2": steps(split(CL100K.replace("{1,3}", "")), byte_level()),
    "o200k": steps(split(O200K), byte_level()),
    "tekken": steps(split(TEKKEN), byte_level()),
    "deepseek": steps(*map(split, DEEPSEEK), byte_level()),
    "starcoder": steps({"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)),
    "digits": steps({"type": "Digits", "individual_digits": False}, byte_level(use_regex=True)),
    "bloom": steps(split(r" ?[^(\s|[.,!?…。，、।۔،])]+"), byte_level()),
    "bloom_removed": steps(split(r" ?[^(\s|[.,!?…。，、।۔،])]+", "Removed", True), byte_level()),
}

_COMMON = [
    *"\x1c\x85'stSTdmrvelLREVEſKk\u212a019aZé.,/-=<>_()[]#$\0 \t\n\r\v\f",
    "'s", "'ſ", "'ll", "'LL", "'Re", "'vE", "'m", "  ", "    ", "\r\n", "\n\n",
    "\u00a0", "\u1680", "\u2003", "\u2028", "\u202f", "\u3000", "\u200b", "\u180e", "\ufeff",
    "\u0301", "\u0323", "\u0334", "\u093c", "\u094d", "\u0e34\u0e48", "\u0651\u064e", "日", "本", "カ", "・", "゠", "゛", "ー",
    "一", "龥", "龦", "\u0378", "١", "²", "Ⅷ", "৬", "한", "\u1112\u1161\u11ab",
    "ǅ", "ʰ", "ª", "\u0903", "\u200d", "👍🏽", "🇩🇪", "Å", "ﬁ", "½", "e\u0301", "\U0010ffff", "\U000e0001", "the", " the", "ing", "1234567",
]  # fmt: skip
_EDGES = [
    point
    for start in code_points.table("CATEGORY")[0].tolist()
    for point in (start - 1, start)
    if 0 <= point < code_points.END and not 0xD800 <= point < 0xE000
]  # the first and the last code point of every run of a category


def hostile_texts(count: int, seed: int, names: tuple[str, ...] = ()) -> list[str]:
    """Texts of what patterns tell apart, and of code points at the edges of categories; some hold names of tokens."""
    random_ = random.Random(seed)

    def text() -> str:
        share = random_.random()
        size = random_.choice([0, 1, 2, 3, 5, 10, 40])
        return "".join(random_.choice(_COMMON) if random_.random() < share else chr(random_.choice(_EDGES)) for _ in range(size))

    found = []
    for _ in range(count):
        name = random_.choice(names) if names and random_.random() < 0.2 else ""
        found.append(text() + name + text())
    return found
