"""Settings that messages name exist: whoever reads `packing.x must be ...` finds x under packing."""

import ast
import dataclasses
import inspect
import pathlib
import re
import typing
from collections.abc import Iterator

import pytest

from tokenreel.config import build
from tokenreel.config.task_build import TaskJobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import ConfigError
from tokenreel.layouts import modes
from tokenreel.objectives.registry import OBJECTIVES

ROOT = pathlib.Path(__file__).parents[1]
GAP = "\0"  # what an f-string fills in
FILES = {"shards.npy", "vocabulary.json", "vocabulary.model", "vocabulary.tiktoken", "tokenizer.json", "tokenizer.model"}


def fields(kind: type, prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings of a dataclass."""
    for name, hint in typing.get_type_hints(kind).items():
        yield prefix + name
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner):
                yield from fields(inner, f"{prefix}{name}.")


def known() -> set[str]:
    found = {*fields(build.JobConfig), *fields(TaskJobConfig), *fields(TokenizerJobConfig)}
    for mode in modes.MODES.values():
        found |= {f"packing.options.{name}" for name in inspect.signature(mode).parameters if f"packing.{name}" not in found}
    found |= {f"packing.options.{name}" for name in modes._PAIR_SETTINGS}
    found |= {f"objective.{field.name}" for kind, _ in OBJECTIVES.values() for field in dataclasses.fields(kind) if field.init}
    documented = build.VocabularyConfig.__doc__.split("options: of the kind.")[1].split("offsets:")[0]
    found |= {f"vocabulary.options.{name}" for name in re.findall(r"`(\w+)`", documented)}
    return found | {"objective.name"}


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields (line, text) of the strings that are no docstrings; what an f-string fills in is `GAP`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
            yield node.lineno, "".join(parts)
            for part in node.values:
                yield from strings(part) if isinstance(part, ast.FormattedValue) else ()
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        yield from strings(node)


def named(text: str, roots: set[str]) -> list[str]:
    """What looks like a setting in a text; a name that ends in `GAP` is the beginning of one."""
    names = re.findall(rf"(?<![\w./{GAP}-])(?:{'|'.join(sorted(roots))})(?:\.[a-z_]+)+(?:{GAP}|\b)", text)
    return [re.sub(r"\.0(?=\.|$)", "", name) for name in names if name not in FILES]


def exists(name: str, settings: set[str]) -> bool:
    return any(setting.startswith(name[:-1]) for setting in settings) if name.endswith(GAP) else name in settings


def test_messages_name_settings_that_exist():
    settings = known()
    roots = {name.split(".")[0] for name in settings if "." in name}
    found, wrong = set(), []
    for package in ("tokenreel", "transforms", "pipelines"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for line, text in strings(ast.parse(path.read_text(encoding="utf-8"))):
                for name in named(text, roots):
                    found.add(name)
                    if not exists(name, settings):
                        wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert wrong == []
    assert len(found) > 80 and {"packing.max_segments", "packing.options.first_id", "filters.lines.min_words"} <= found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('f("packing.seq_len must be")', ["packing.seq_len"]),
        ('f(f"set packing.add_{x}: false")', [f"packing.add_{GAP}"]),
        ('"""packing.nonsense"""', []),
        ("f('see packing.options.extra.', f'{a}packing.x')", ["packing.options.extra"]),
    ],
)
def test_the_check_sees(source, expected):
    assert [name for _, text in strings(ast.parse(source)) for name in named(text, {"packing"})] == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "first_fit", "options": {"open_examples": 0}}, r"^packing\.options\.open_examples must be at least 1"),
        ({"mode": "next_fit", "options": {"flush_every": 0}}, r"^packing\.options\.flush_every must be at least 1"),
        ({"mode": "wrap", "options": {"open_examples": 4}}, r"^packing\.options\.open_examples is not a setting of mode wrap"),
        ({"mode": "best_fit", "max_segments": 0}, r"^packing\.max_segments must be at least 1"),
        ({"mode": "best_fit", "overlap": 1}, r"^packing\.overlap is not a setting of mode best_fit"),
        ({"mode": "buckets", "options": {"min_exponent": 9, "max_exponent": 8}}, r"^packing\.options\.min_exponent and max_exponent"),
    ],
)
def test_settings_of_modes_are_named_where_they_are_set(settings, message):
    with pytest.raises(ConfigError, match=message):
        build.PackingConfig(seq_len=64, **settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "x"}, r"^packing\.options\.task must be next_sentence or sentence_order"),
        ({"short_rate": 2.0}, r"^packing\.options\.short_rate must lie between 0 and 1"),
        ({"short_rate": "x"}, r"^packing\.options\.short_rate must lie between 0 and 1, got 'x'"),
        ({"colour": 2.0}, r"^packing\.options\.colour is not a setting of mode segment_pairs"),
    ],
)
def test_settings_of_pairs_are_named_where_they_are_set(options, message):
    with pytest.raises(ConfigError, match=message):
        build.PackingConfig(
            seq_len=64, mode="segment_pairs", sentences="rules", add_eos=False, separator_id=1, options={"first_id": 2, **options}
        )
