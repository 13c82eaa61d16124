"""Tests lie as the modules do: whoever changes a module finds its tests by its name, or reads in its docstring where they are."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

from tests import layering

ROOT = layering.ROOT
PACKAGES = ("tokenreel", "transforms", "pipelines")
ELSEWHERE = re.compile(r"^Tested in (?=tests/)(.+)$", re.MULTILINE)
PATH = re.compile(r"tests/[\w/]+\.py")


def modules() -> list[str]:
    """The modules with code of their own: a package's `__init__` only names what others hold."""
    found = [path for package in PACKAGES for path in layering.files(package) if path.name != "__init__.py"]
    return [path.relative_to(ROOT).as_posix() for path in found]


def faults(module: str, root: pathlib.Path = ROOT) -> list[str]:
    """What is wrong with where a module says, or does not say, that it is tested."""
    path = pathlib.PurePosixPath(module)
    own = f"tests/{path.parent}/test_{path.name}"
    docstring = ast.get_docstring(ast.parse((root / module).read_text(encoding="utf-8"))) or ""
    named = [name for match in ELSEWHERE.finditer(docstring) for name in PATH.findall(match[1])]
    if (root / own).is_file():
        return [f"{module}: has {own}; leave 'Tested in' out of its docstring"] if named else []
    if not named:
        return [f"{module}: write {own}, or a line 'Tested in tests/....py.' in its docstring"]
    return [f"{module}: says that it is tested in {name}, which does not exist" for name in named if not (root / name).is_file()]


def test_every_module_has_its_tests_or_says_where_they_are() -> None:
    assert [fault for module in modules() for fault in faults(module)] == []


@pytest.mark.parametrize(
    ("docstring", "tests", "expected"),
    [
        ("Cuts.", ["tests/tokenreel/test_cut.py"], []),
        ("Cuts.", [], ["write tests/tokenreel/test_cut.py, or a line"]),
        ("Cuts.\n\nTested in tests/other.py.", ["tests/other.py"], []),
        ("Cuts.\n\nTested in tests/other.py and tests/more.py.", ["tests/other.py"], ["tests/more.py, which does not exist"]),
        ("Cuts. Tested in tests/other.py.", ["tests/other.py"], ["write tests/tokenreel/test_cut.py, or a line"]),
        ("Cuts.\n\nTested in tests/other.py.", ["tests/other.py", "tests/tokenreel/test_cut.py"], ["leave 'Tested in' out"]),
    ],
)
def test_the_check_sees(tmp_path: pathlib.Path, docstring: str, tests: list[str], expected: list[str]) -> None:
    for name in ["tokenreel/cut.py", *tests]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'"""{docstring}"""\n')
    found = faults("tokenreel/cut.py", tmp_path)
    assert len(found) == len(expected) and all(part in fault for part, fault in zip(expected, found, strict=True))
