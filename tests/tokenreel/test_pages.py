"""The code on the pages about packing and objectives runs."""

import pathlib
import re

import pytest
import yaml

from tokenreel.objectives import OBJECTIVES

DOCS = pathlib.Path(__file__).parents[2] / "docs"


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
