"""Every preset builds a sound dataset, which the loader replays."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

import tokenreel
from pipelines import cli
from tests.conftest import train_model
from tokenreel.inspection.verification import verify

CONFIGS = sorted(pathlib.Path("configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def model(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model with every special piece that a preset names."""
    sentinels = [f"<extra_id_{i}>" for i in reversed(range(140))]  # as T5 has them
    symbols = ["<mask>", "[MASK]", "[CLS]", "[SEP]", "<PRE>", "<SUF>", "<MID>", *sentinels]
    return train_model(texts, tmp_path_factory.mktemp("model"), size=900, symbols=symbols)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_presets_build(path: pathlib.Path, model: str, corpus: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first_lines = path.read_text().split("output:")[0]
    assert f"tokenreel build {path}" in first_lines
    overrides = ["--set", "splits={}", "--set", "sources.0.id_field=null", "--set", "sources.0.metadata_fields=[]"]
    if "kind: bytes" not in path.read_text():
        overrides += ["--set", f"vocabulary.path={model}"]
    if "variants" in path.read_text():
        overrides += ["--set", "variants=2"]
    output = tmp_path / path.stem
    command = ["build", str(path), "--input", str(corpus), "--output", str(output), "--direct_num_workers=1", *overrides]
    assert cli.main(command) == 0
    assert verify(str(output)) == []
    dataset = tokenreel.load(str(output))
    seen = np.concatenate([batch["example_id"] for batch in dataset.batches(16, seed=1, epochs=1, drop_remainder=False)])
    assert sorted(seen[seen >= 0].tolist()) == list(range(len(dataset)))
