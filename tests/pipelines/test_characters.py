"""Character models from end to end: a fitted vocabulary, masked and mistyped characters, and tokens spelled, built, verified and loaded."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import yaml

import tokenreel
from pipelines import cli
from tests import demo_text
from tests.golden.builds import INPUTS
from tokenreel.inspection.verification import verify
from tokenreel.shelf import Shelf
from tokenreel.vocabularies import character_fitting


def build(folder: pathlib.Path, name: str, **settings: Any) -> tokenreel.Dataset:
    config = {
        "output": str(folder / name),
        "sources": [{"files": [str(folder / "text")]}],
        "splits": {"validation": 0.2},
        "packing": {"mode": "best_fit", "seq_len": 128, "align": 4},
        **settings,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["build", str(folder / f"{name}.yaml"), "--direct_num_workers=1"]) == 0
    assert verify(str(folder / name)) == []
    return tokenreel.load(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("characters")
    demo_text.write(folder / "text")
    return folder


def texts(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted((folder / "text").iterdir()) for line in path.read_text(encoding="utf-8").splitlines()]


def test_masks_and_typos_over_a_fitted_vocabulary(folder: pathlib.Path) -> None:
    vocabulary = character_fitting.fit(
        texts(folder), folder / "characters.json", specials=["<mask>", "<cls>"], normalizer="nfkc", min_count=3
    )
    objective = {"name": "character_denoising", "case": 0.05, "neighbour": 0.05, "swap": 0.02}
    dataset = build(folder, "masked", vocabulary={"kind": "characters", "path": str(folder / "characters.json")}, objective=objective)
    stored = dataset.take(np.arange(len(dataset)))
    hidden = stored["tokens"] == vocabulary.mask_id
    wrong = (stored["tokens"] != stored["targets"]) & ~hidden
    real = stored["targets"] != 0
    assert 0.12 < hidden.sum() / real.sum() < 0.2 and 0.05 < wrong.sum() / real.sum() < 0.12
    assert (stored["target_weights"].astype(bool) == (hidden | wrong)).all() and not hidden[~real].any()
    assert dataset.rows().string_to_array("naïve", 8).tolist()[:5] == vocabulary.encode("naïve")
    plain = build(folder, "plain", vocabulary={"kind": "characters", "path": str(folder / "characters.json")})
    online = plain.objective("character_denoising", case=0.05, neighbour=0.05, swap=0.02)
    batch = next(plain.batches(8, objective=online, seed=1))
    assert (batch["tokens"] == vocabulary.mask_id).any() and (batch["targets"] == plain.take(batch["example_id"])["tokens"]).all()


def test_a_vocabulary_from_the_shelf(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pushed by one process, fetched by another: the dataset is that of the file itself."""
    monkeypatch.setenv("TOKENREEL_SHELF", str(folder / "shelf"))
    character_fitting.fit(texts(folder), folder / "pushed.json", specials=["<mask>"])
    Shelf().push(folder / "pushed.json", "english", "vocabulary")
    fetched = Shelf().fetch("english", "vocabulary", cache_dir=folder / "cache", lock=folder / "shelf.lock")
    found = [
        build(folder, name, vocabulary={"kind": "characters", "path": path}, objective={"name": "character_denoising"}).fingerprint
        for name, path in (("own", str(folder / "pushed.json")), ("fetched", f"{fetched}/pushed.json"))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("alphabet", [None, " abcdefghijklmnopqrstuvwxyz"])
def test_spelled_tokens_are_the_text(folder: pathlib.Path, alphabet: str | None) -> None:
    """Stored by a build and made on load: the same arrays but for the draws, and what is not hidden spells the text."""
    settings = {"negatives": 4, "min_characters": 2, **({} if alphabet is None else {"alphabet": alphabet})}
    common = {"vocabulary": {"path": str(INPUTS / "unigram.model")}, "packing": {"mode": "pad", "seq_len": 32}}
    called = f"spelled-{alphabet is None}"
    dataset = build(folder, called, **common, objective={"name": "spelled_tokens", **settings})
    vocabulary, stored = dataset.vocabulary(), dataset.take(np.arange(len(dataset)))
    special = set(vocabulary.objective_facts()["special_ids"])
    for row in range(0, len(dataset), 7):
        tokens = [i for i in stored["tokens"][row, : stored["num_tokens"][row]].tolist() if i not in special]
        pieces = [vocabulary.piece(i).replace("\u2581", " ") for i in tokens]
        bytes_of = {piece: int(piece[3:5], 16) for piece in pieces if piece.startswith("<0x")}
        text = "".join(chr(bytes_of[piece] if bytes_of[piece] < 128 else 0xFFFD) if piece in bytes_of else piece for piece in pieces)
        shown = stored["characters"][row, : stored["num_characters"][row]].tolist()
        if alphabet is None:
            assert len(shown) <= len(text.encode()) and all(a in (1, b + 3) for a, b in zip(shown, text.encode(), strict=False))
        else:
            ids = [3 + alphabet.index(c) if c in alphabet else 2 for c in text]
            assert all(a in (1, b) for a, b in zip(shown, ids, strict=False))
        for start, end, weight in zip(*(stored[f"span_{name}"][row] for name in ("starts", "ends", "weights")), strict=True):
            assert set(stored["characters"][row, start:end].tolist()) <= {1} and (end > start) == bool(weight)
    made = dataset.manifest.config["objective"]
    assert made["negatives"] == 4 and stored["negative_ids"].shape[1:] == (5, 4)
    plain = build(folder, f"{called}-plain", **common)
    batch = next(plain.batches(8, objective=plain.objective("spelled_tokens", **settings)))
    assert batch["negative_ids"].shape == (8, 5, 4) and (batch["span_weights"].sum(axis=1) > 0).any()
