"""Vocabularies of characters from lists and from Hugging Face datasets, as a count of Python's makes them."""

from __future__ import annotations

import json
import pathlib
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.errors import ConfigError
from tokenreel.vocabularies import character_fitting
from tokenreel.vocabularies.character_fitting import fit

TEXTS = ["naïve ﬁn", "abc\n", "", "aab", "\U0001f600"]


@given(st.lists(st.text(alphabet="abé\u0301ﬁ\0\n日", max_size=9), min_size=1), st.sampled_from(["none", "nfkc"]), st.integers(1, 3))
def test_characters_are_those_of_a_count(tmp_path_factory: pytest.TempPathFactory, texts: list[str], form: str, least: int) -> None:
    normal = [unicodedata.normalize("NFKC", text) if form == "nfkc" else text for text in texts]
    ranked = sorted(Counter("".join(normal)).items(), key=lambda item: (-item[1], item[0]))
    wanted = [(character, number) for character, number in ranked if number >= least][:4]
    path = tmp_path_factory.mktemp("fit") / "model.json"
    if not wanted:
        with pytest.raises(ConfigError, match=f"no character occurs options.min_count = {least} times"):
            fit(texts, path, min_count=least, normalizer=form)
        return
    found = fit(iter(texts), path, min_count=least, max_size=4, normalizer=form)
    model = json.loads(path.read_text())
    assert list(zip(model["characters"], model["counts"], strict=True)) == wanted
    assert found.vocab_size == 4 + len(wanted) and found.encode(wanted[0][0]) == [4]


def test_rows_and_batches_give_the_same(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit(TEXTS, tmp_path / "a.json")
    monkeypatch.setattr(character_fitting, "_TEXTS_AT_ONCE", 2)
    rows = ({"label": 3, "body": text} for text in TEXTS)
    assert fit(rows, tmp_path / "b.json", column="body").fingerprint == first.fingerprint
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_hugging_face_datasets_give_the_same(tmp_path: pathlib.Path) -> None:
    import datasets

    table = datasets.Dataset.from_dict({"text": TEXTS, "label": list(range(len(TEXTS)))})
    first = fit(TEXTS, tmp_path / "a.json").fingerprint
    assert fit(table, tmp_path / "b.json").fingerprint == fit(table.to_iterable_dataset(), tmp_path / "c.json").fingerprint == first


def test_specials_have_ids_that_no_text_makes(tmp_path: pathlib.Path) -> None:
    found = fit(TEXTS, tmp_path / "a.json", specials=["<mask>", "<cls>", "<sep>"])
    assert [found.pad_id, found.bos_id, found.eos_id, found.unk_id, found.mask_id, found.cls_id, found.sep_id] == list(range(7))
    facts = found.objective_facts()
    assert facts["mask_id"] == 4 and facts["special_ids"] == tuple(range(7)) and facts["characters"][:7] == [None] * 7
    assert not set(found.encode("<mask> <cls> a")) & {4, 5, 6} and found.decode([4, 5, *found.encode("ab")]) == "ab"
    plain = fit(TEXTS, tmp_path / "b.json")
    assert (plain.mask_id, plain.cls_id, plain.sep_id) == (None,) * 3
    assert "specials" in json.loads((tmp_path / "b.json").read_text())


def test_models_survive_json_whatever_counted(tmp_path: pathlib.Path) -> None:
    """cclm's `n_chars` is a NumPy integer, which its JSON refuses."""
    found = fit(TEXTS, tmp_path / "a.json", min_count=np.int64(1), max_size=np.int64(3))
    model = json.loads((tmp_path / "a.json").read_text())
    assert all(type(number) is int for number in model["counts"]) and len(model["characters"]) == 3
    assert type(found.vocab_size) is int and json.dumps(found.objective_facts()["vocab_size"]) == "7"


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        ("one string", {}, "give a list of strings"),
        ([b"bytes"], {}, "text 0: no string"),
        ([{"body": "x"}], {}, "in column 'text'"),
        (["\ud800"], {}, "no text that UTF-8 can hold"),
        (["a"], {"specials": ["<pad>"]}, "options.specials are names"),
        (["a"], {"min_count": 0}, "options.min_count must be at least 1"),
        ([], {}, "no character occurs"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(tmp_path: pathlib.Path, texts: object, options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fit(texts, tmp_path / "a.json", **options)
    assert not (tmp_path / "a.json").exists()
