"""Every recipe runs as its header and `tokenreel init` say: its tokenizer is trained, its dataset is sound, the loader replays it."""

from __future__ import annotations

import pathlib
import re
import shlex
from collections.abc import Sequence

import numpy as np
import pytest
import yaml

import tokenreel
from pipelines import cli, init
from tests import demo_text, layering
from tokenreel.inspection.verification import verify

ROOT = layering.ROOT
CONFIGS = sorted(pathlib.Path("configs").glob("*.yaml"))
PAGES = ("c4",)  # whose rules leave next to nothing of text that is wrapped
HELD_BY = {"bert": "[CLS] [SEP] [MASK]", "albert": "[CLS] [SEP] [MASK]", "fim": "<PRE> <SUF> <MID>", "ul2": "[NLU] [S2S] [NLG]"}
HELD_BY |= {**dict.fromkeys(("roberta", "spanbert", "electra"), "<mask>"), "characters": "<mask> <cls>"}


def run(command: Sequence[str], *overrides: str) -> None:
    """Runs a `tokenreel` command with settings for a small text, of those that it has."""
    tokenizer = ["options.vocab_size=900"] if command[1] == "train-tokenizer" and not command[2].endswith("characters.yaml") else []
    settings = [word for override in (*tokenizer, *overrides) for word in ("--set", override)]
    workers = ["--direct_num_workers=1"] if command[1] in ("build", "train-tokenizer") else []
    assert cli.main([*command[1:], *workers, *settings]) == 0


def replay(directory: str) -> tokenreel.Dataset:
    """Checks a dataset, and takes an epoch of it."""
    assert verify(directory) == []
    dataset = tokenreel.load(directory)
    seen = np.concatenate([batch["example_id"] for batch in dataset.batches(16, seed=1, epochs=1, drop_remainder=False)])
    assert sorted(seen[seen >= 0].tolist()) == list(range(len(dataset)))
    assert len(dataset) > 0
    return dataset


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=pytest.mark.tensorflow if path.stem == "characters" else ()) for path in CONFIGS]
)
def test_presets_build(
    path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its commands as `tokenreel init` prints them, one after the other, on a part of Python's documentation."""
    text = path.read_text()
    first_lines = text.split("output:")[0]
    assert f"tokenreel build {path}" in first_lines
    monkeypatch.chdir(tmp_path)
    if path.stem == "demo":  # of a clone alone: tests/test_examples.py runs it as it stands
        demo_text.write(tmp_path / "mine")
        corpus, output, tokenizer = "mine/docs.jsonl", "demo", f"{ROOT}/configs/tokenizers/demo.yaml"
        run(["tokenreel", "train-tokenizer", tokenizer, "--input", corpus, "--output", "tokenizer"])
        build = ["tokenreel", "build", str(ROOT / path), "--input", corpus, "--output", output]
        run(build, "vocabulary.path=tokenizer/tokenizer.model")
        replay(output)
        return
    assert cli.main(["init", path.stem, "my books"]) == 0
    commands = [shlex.split(line) for line in re.findall(r"^  (tokenreel .*)$", capsys.readouterr().out, re.MULTILINE)]
    assert [command[1] for command in commands] == ["train-tokenizer", "build", "verify", "inspect"]
    demo_text.write(tmp_path / "my books/texts", pages=path.stem in PAGES)
    for command in commands:
        run(command)
    assert not (tmp_path / "texts").exists() and [found.name for found in tmp_path.iterdir()] == ["my books"]
    dataset = replay(f"my books/{yaml.safe_load(text)['output']}")
    vocabulary = dataset.vocabulary()
    sentinels = {"t5": 100, "ul2": 128}.get(path.stem, 0)
    for name in [*HELD_BY.get(path.stem, "").split(), *(f"<extra_id_{i}>" for i in range(sentinels))]:
        assert vocabulary.find(name) is not None
        assert vocabulary.find(name) not in vocabulary.encode(f"a {name} b"), "no text makes it"
    if path.stem == "ul2":
        modes = [setting.strip("'") for setting in re.findall(r"--set ('objective[^ ]*')", first_lines)]
        assert len(modes) == 3
        run([*commands[1], "--output", "modes"], *modes)
        expected = {vocabulary.find(name) for name in HELD_BY["ul2"].split()}
        assert set(replay("modes").take(range(30))["inputs"][:, 0].tolist()) <= expected


def test_headers_are_the_commands_of_a_clone() -> None:
    """Each recipe names the tokenizer that it reads, and the command that trains it."""
    for path in CONFIGS:
        text = path.read_text()
        commands = [shlex.split(line) for line in re.findall(r"^#   (tokenreel .*)$", text, re.MULTILINE)]
        settings = yaml.safe_load(text)
        assert commands[-1][:3] == ["tokenreel", "build", str(path)]
        if path.stem == "demo":
            continue
        assert commands[-1][3:] == ["--input", "texts/*.jsonl", "--output", settings["output"]]
        model = settings["vocabulary"]["path"]
        tokenizer = commands[0][2]
        assert commands[0] == ["tokenreel", "train-tokenizer", tokenizer, "--input", "texts/*.jsonl"]
        output = pathlib.Path(tokenizer).parent / yaml.safe_load(pathlib.Path(tokenizer).read_text())["output"]
        kind = "json" if path.stem == "characters" else "model"
        assert output / f"tokenizer.{kind}" == path.parent / model


def test_every_tokenizer_of_a_recipe_is_listed() -> None:
    used = {yaml.safe_load(path.read_text())["vocabulary"].get("path", "") for path in CONFIGS}
    own = {path.stem for path in pathlib.Path("configs/tokenizers").glob("*.yaml")} - {"demo"}
    assert {pathlib.PurePath(path).parent.name for path in used if path.startswith("tokenizers/")} == own
    assert set(init.recipes()) == {path.stem for path in CONFIGS} - {"demo"}
