"""From the steps of a `tokenizer.json` that writes spaces as `▁` and then merges characters, to what becomes of a text.

Tested in tests/tokenreel/vocabularies/test_metaspace_path.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised
from tokenreel.vocabularies.pre_tokenizers.word_steps import flat

SPACE = "▁"
_REPLACES = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
NEVER, EACH, LACKING, FIRST = "never", "each", "lacking", "first"
"""Which parts of a text get a space at their front: none, all, those without one, or the first part if it has none."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """What becomes of a text.

    Attributes:
      form: the normal form it is put into, `NFC` or `NFKC`, or None.
      prefix: which parts get a space, as above; all but `EACH` are looked at after names in the normalised text were found.
      normalizes: whether `▁` and spaces are the same when names in the normalised text are looked for; else from then on.
      splits: whether words begin at spaces; else the model sees all of a part at once.
      names: of the steps, for people.
    """

    form: str | None
    prefix: str
    normalizes: bool
    splits: bool
    names: str


def writes_spaces(normalizer: Mapping[str, Any] | None, pre_tokenizer: Mapping[str, Any] | None) -> bool:
    """Tells whether spaces are written as `▁`, whatever else there is."""
    metaspaces = [step for step in flat(pre_tokenizer, "pretokenizers") if step.get("type") == "Metaspace"]
    return bool(metaspaces) or _REPLACES in flat(normalizer, "normalizers")


def recognise(normalizer: Mapping[str, Any] | None, pre_tokenizer: Mapping[str, Any] | None) -> Steps:
    """Reads the steps before a model: `normalizer` and `pre_tokenizer` of a file.

    Raises:
      NotRecognised: they do something that is not known here, or do not write spaces so.
    """
    normalizers, pre_tokenizers = flat(normalizer, "normalizers"), flat(pre_tokenizer, "pretokenizers")
    names = ", ".join(str(step.get("type")) for step in [*normalizers, *pre_tokenizers])
    form = None
    if normalizers and normalizers[0].get("type") in ("NFC", "NFKC"):
        form, normalizers = str(normalizers[0]["type"]), normalizers[1:]
    for step in normalizers:
        if step != _REPLACES and step != {"type": "Prepend", "prepend": SPACE}:
            raise NotRecognised(f"the normaliser {step.get('type')}")
    kinds = [step["type"] for step in normalizers]
    if kinds.count("Prepend") > 1:
        raise NotRecognised("several normalisers Prepend")
    if len(pre_tokenizers) > 1:
        raise NotRecognised(f"the pre-tokenizers {names}")
    normalizes = "Replace" in kinds
    prefix, splits = (EACH if "Prepend" in kinds else NEVER), False
    for step in pre_tokenizers:
        kind = step.get("type")
        if kind == "Split" and step.get("pattern") == {"String": " "} and not step.get("invert") and normalizes:
            continue  # no such space is left
        if kind != "Metaspace" or step.get("replacement") != SPACE:
            raise NotRecognised(f"the pre-tokenizer {kind}")
        if prefix != NEVER:
            raise NotRecognised("Metaspace behind Prepend")
        scheme = "never" if step.get("add_prefix_space") is False else step.get("prepend_scheme", "always")
        prefix, splits = {"always": LACKING, "first": FIRST, "never": NEVER}[scheme], bool(step.get("split", True))
        break
    else:
        if not normalizes:
            raise NotRecognised("spaces are not written as ▁")
    return Steps(form, prefix, normalizes, splits, names)
