"""What the pages of the architecture and of the words say is so in the code: names, and who imports whom."""

import ast
import functools
import pathlib
import pkgutil
import re

import pytest

from tests import layering

ROOT = layering.ROOT
GLOSSARY = ROOT / "docs/glossary.md"
ARCHITECTURE = ROOT / "docs/architecture.md"


def page(path: pathlib.Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@functools.cache
def names(*kinds: type) -> frozenset[str]:
    """The classes or functions of the project, methods included."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8"))
        for folder in ("tokenreel", "transforms", "pipelines")
        for path in layering.files(folder)
    ]
    return frozenset(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds))  # type: ignore[attr-defined]


def unknown(text: str) -> list[str]:
    """The names in backticks that the code does not have: `Class`, `function()`, `room/module.py` and `room/`."""
    missing = []
    for name in re.findall(r"`([^`\n]+)`", text):
        if re.fullmatch(r"[A-Z][a-z]\w*", name):
            known = name in names(ast.ClassDef)
        elif re.fullmatch(r"[a-z_.]+\(\)", name):
            known = name[:-2].split(".")[-1] in names(ast.FunctionDef)
        elif re.fullmatch(r"[a-z_/]+(\.py|/)", name):
            known = any((folder / name).exists() for folder in (ROOT, ROOT / "tokenreel", *(ROOT / "tokenreel").glob("*/")))
        else:
            continue
        if not known:
            missing.append(name)
    return missing


def test_unknown_names_are_seen():
    text = (
        "`Document`, `list_blocks()`, `list_blobs()`, `format/schema.py`, `format/scheme.py`, `storage/`, `store/`, `.bin`, `packing.align`"
    )
    assert unknown(text) == ["Document", "list_blobs()", "format/scheme.py", "store/"]


@pytest.mark.parametrize("path", [GLOSSARY, ARCHITECTURE, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_names_on_the_page_exist(path):
    assert unknown(page(path)) == []


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")], ids=lambda path: path.name)
def test_modules_on_the_page_exist(path):
    """Dotted names, such as `tokenreel.format.segments` or `tokenreel.load`, lead to something."""
    for name in re.findall(r"`(tokenreel(?:\.\w+)+)`", page(path)):
        pkgutil.resolve_name(name)


def test_each_word_has_one_entry_and_they_are_sorted():
    words = re.findall(r"^\*\*(.+?)\*\*", page(GLOSSARY), re.MULTILINE)
    assert len(words) > 50
    assert words == sorted(set(words))


def test_each_entry_says_where_its_word_lives_or_leads_on():
    for entry in re.findall(r"^\*\*.+?(?=^\*\*|\Z)", page(GLOSSARY), re.MULTILINE | re.DOTALL):
        assert re.search(r"(\.py|/)`|see \*|\]\(|`Vocabulary`|`Batches`|`Manifest`", entry), entry


def test_words_that_entries_refer_to_have_entries():
    text = page(GLOSSARY)
    words = set(re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE))
    assert set(re.findall(r"(?<!\*)\*([a-z ]+)\*(?!\*)", text.replace("\n", " "))) <= words


def test_the_page_has_the_rooms_and_their_sides():
    rows = re.findall(r"^\| `(?:tokenreel/)?([\w*]+)(?:/|\.py)`.* \| (\w+) \|$", page(ARCHITECTURE), re.MULTILINE)
    sides = {layering.GROUND if room == "*" else room: side for room, side in rows}
    assert sides.keys() == layering.MAY_IMPORT.keys() and len(rows) == len(sides)
    assert {room for room, side in sides.items() if side != "job"} == layering.TRAINER_SIDE


def test_the_page_has_the_table_of_imports():
    table = page(ARCHITECTURE).split("| room | may import |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    assert {room: frozenset(re.findall(r"\w+", others)) for room, others in rows} == layering.MAY_IMPORT
    assert [room for room, _ in rows] == list(layering.MAY_IMPORT)
