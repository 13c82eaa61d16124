"""Texts on which tokenizers are compared with their libraries: many languages, code, long units, and what is cut wrong."""

from __future__ import annotations

import functools
import gettext
import gzip
import importlib.util
import pathlib

from tests.hostile_texts import hostile_texts

HOSTILE = 10_000
LEAST_LANGUAGES = 20
NAMES = (
    *("<s>", "</s>", "<EOT>", "<|endoftext|>", "<｜end▁of▁sentence｜>", "<｜fim▁hole｜>", "<｜User｜>", "[INST]", "<|im_end|>"),
    *("[MASK]", "<extra_id_0>"),
)
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
