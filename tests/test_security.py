"""What SECURITY.md claims has a test, and the soaks that stand behind it run here for a while."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

from tests.soak import flips, hostile

ROOT = pathlib.Path(__file__).parents[1]
CLAIMS = re.findall(r"^\| (.+?) \| (tests/[\w/]+\.py)::(\w+) \|$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_each_claim_has_its_test() -> None:
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("## Claims")[1].split("##")[0]
    assert len(CLAIMS) == len([line for line in table.splitlines() if line.startswith("| ")]) - 2 > 10
    for claim, path, name in CLAIMS:
        module = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}, (claim, path, name)


@pytest.mark.slow
def test_flips() -> None:
    result = flips.run(50, seed=0)
    assert result.sound and result.chains == 50 and result.refused and result.right, result


@pytest.mark.slow
def test_hostile_inputs() -> None:
    result = hostile.run(300, seed=0)
    assert result.sound and result.chains == 300 and result.refused and result.taken, result
