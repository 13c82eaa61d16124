"""The code on the loader's page runs."""

import pathlib
import re

import pytest

from tests.datasets import random_examples, write_dataset

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "loader.md"


def test_the_code_on_the_page_runs(tmp_path, monkeypatch):
    splits = {"train": random_examples(100, 64, vocab_size=259), "validation": random_examples(40, 64, vocab_size=259, seed=1)}
    write_dataset(tmp_path / "demo/dataset", splits, vocab_size=259)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert {"mask_positions", "mask_ids", "mask_weights"} <= set(names["masked"].output_shapes())  # type: ignore[attr-defined]


def test_its_commands_are_those_there_are(tmp_path, monkeypatch):
    from tokenreel.commands import main

    write_dataset(tmp_path / "demo/dataset", {"train": random_examples(100, 64, vocab_size=259)}, vocab_size=259)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^tokenreel (where|when) (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in commands] == ["where", "when"]
    for name, arguments in commands:
        assert main(name, arguments.replace("ID", "train-3-0").split()) == 0
    assert main("where", ["nowhere", "--batch-size", "8", "--step", "0"]) == 2
    with pytest.raises(SystemExit):
        main("when", ["demo/dataset"])
