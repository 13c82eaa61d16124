"""The code on the pages about packing, objectives and trainers runs."""

import dataclasses
import inspect
import pathlib
import re

import pytest
import yaml

from tests.datasets import random_examples, write_dataset
from tokenreel.layouts import modes, segment_pairs
from tokenreel.loaders import load
from tokenreel.objectives.registry import OBJECTIVES

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", ["packing.md", "objectives.md"])
def test_code(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) >= 3
    names: dict[str, object] = {}
    for block in found:
        exec(compile(block, page, "exec"), names)


def test_every_objective_is_on_its_page():
    text = (DOCS / "objectives.md").read_text(encoding="utf-8")
    table = text[text.index("## Which") : text.index("## Randomness")]
    assert set(OBJECTIVES) <= set(re.findall(r"`(\w+)`", table))
    for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        assert yaml.safe_load(block)["objective"]["name"] in OBJECTIVES


def test_every_setting_of_an_objective_is_on_its_page():
    text = (DOCS / "objectives.md").read_text(encoding="utf-8")
    table = text[text.index("## Settings") : text.index("## Randomness")]
    for name, (kind, preset) in OBJECTIVES.items():
        rows = [settings for names, settings in re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE) if f"`{name}`" in names]
        assert rows, name
        if "`masked_lm`" in rows[0]:
            own = {field.name: field.default for field in dataclasses.fields(kind)} | preset
            common = {field.name: field.default for field in dataclasses.fields(OBJECTIVES["masked_lm"][0])}
            for setting, value in own.items():
                shown = f"{value:g}" if isinstance(value, float) else str(value).lower()
                if value != common[setting]:
                    assert f"`{setting}`" in rows[0] and re.search(rf"\b{shown}\b", rows[0]), (name, setting)
            continue
        for field in dataclasses.fields(kind):
            if field.init and field.name not in ("seq_len", "vocab_size", "pad_id"):
                (row,) = (row for row in rows if f"`{field.name}`" in row)
                if field.default not in (dataclasses.MISSING, None, ()):
                    shown = f"{field.default:g}" if isinstance(field.default, float) else str(field.default).lower()
                    assert f"`{field.name}` {shown}" in row, field.name


def test_every_setting_of_a_mode_is_on_the_page_of_packing():
    text = (DOCS / "packing.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", text[text.index("## Settings") : text.index("## Rules")], re.MULTILINE))
    functions = {**modes.MODES, "segment_pairs": segment_pairs.plan}
    assert set(rows) == set(functions)
    for mode, function in functions.items():
        parameters = list(inspect.signature(function).parameters.values())
        settings = parameters[[parameter.name for parameter in parameters].index("seq_len") + 1 :]
        for setting in (setting for setting in settings if setting.name not in ("seed", "variant")):
            shown = f" {setting.default}".lower() if setting.default is not None else ""
            assert f"`{setting.name}`{shown}" in rows[mode], (mode, setting.name)


@pytest.mark.parametrize("page", ["torch.md", "lightning.md", "huggingface.md"])
def test_the_code_on_the_pages_of_trainers_is_that_of_the_programs_that_are_killed(page):
    programs = ["".join(path.read_text(encoding="utf-8").split()) for path in (ROOT / "examples/trainers").glob("*.py")]
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    shown = [block for block in blocks if any("".join(block.split()) in program for program in programs)]  # but for indentation
    assert len(shown) >= 3
    assert [block for block in blocks if block not in shown] == blocks[: page == "torch.md"]  # that page opens with a loop of its own


def test_the_programs_on_the_pages_of_trainers_exist():
    named = set()
    for page in ("torch.md", "lightning.md", "huggingface.md"):
        named |= set(re.findall(r"examples[./]trainers[./](\w+)", (DOCS / page).read_text(encoding="utf-8")))
    assert named == {path.stem for path in (ROOT / "examples/trainers").glob("*.py")} - {"common"}


@pytest.mark.torch
def test_the_loop_on_the_page_of_torch_runs(tmp_path):
    write_dataset(tmp_path / "d", {"train": random_examples(40, 8)})
    block, *_ = re.findall(r"^```python\n(.*?)^```$", (DOCS / "torch.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    # Without workers: this process has other frameworks' threads, which no fork survives.
    without = block.replace(", num_workers=2, persistent_workers=True", "")
    names = {"dataset": load(tmp_path / "d")}
    exec(compile(without, "torch.md", "exec"), names)
    assert without != block and names["batch"]["tokens"].shape == (8, 8) and names["step"] == 2
