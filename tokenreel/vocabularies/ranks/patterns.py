r"""The patterns by which tokenizers of rank files cut texts, by their names: a `.tiktoken` file holds ranks alone.

They are written as the models' own code has them. Spellings that look alike are not: OpenAI's cl100k has `\s++$`, which takes all the white
space that ends a text, where Llama 3 and Qwen end a unit at its last line feed.

Tested in tests/tokenreel/vocabularies/ranks/test_vocabulary.py.
"""

from __future__ import annotations

from tokenreel.vocabularies.pre_tokenizers.recognition import GPT2

_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LOWER, _UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_WORDS = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SHORT}?", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SHORT}?")
_SPACES = (r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+")
_LLAMA3 = (_SHORT, r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", *_SPACES)

PATTERNS = {
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),  # of tiktoken 0.14
    "gpt2": GPT2,  # also of r50k, p50k and Whisper
    "llama3": "|".join(_LLAMA3),
    "o200k": "|".join((*_WORDS, r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", *_SPACES)),
    "qwen": "|".join((*_LLAMA3[:2], r"\p{N}", *_LLAMA3[3:])),
}
