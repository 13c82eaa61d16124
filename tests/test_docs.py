"""The code in the documentation runs, on a dataset that a build made."""

import dataclasses
import pathlib
import re
import shlex
import shutil
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines import cli
from tokenreel.config import reading
from tokenreel.config.build import JobConfig, VocabularyConfig
from tokenreel.config.corpus import SourceConfig
from tokenreel.config.features import FeatureJobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.curation import cleaned
from tokenreel.errors import VocabularyError
from tokenreel.vocabularies import loading

ROOT = pathlib.Path(__file__).parents[1]


def blocks(name: str) -> list[str]:
    """The Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def demo(tmp_path: pathlib.Path, write_config: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A working directory with a dataset where the documentation has one."""
    dataset = tmp_path / "demo/dataset"
    assert cli.main(["build", write_config(output=str(dataset)), "--direct_num_workers=1"]) == 0
    monkeypatch.chdir(tmp_path)
    return dataset


def test_the_format_page_is_right(demo: pathlib.Path) -> None:
    names: dict[str, object] = {}
    for block in blocks("docs/format.md"):
        if "tensorflow" in block:
            continue  # the next test runs it
        exec(compile(block, "docs/format.md", "exec"), names)
    tokens, starts = names["tokens"], names["starts"]
    assert isinstance(tokens, np.ndarray) and isinstance(starts, np.ndarray)
    assert tokens.shape == starts.shape == (3, 65)
    assert starts.any()


@pytest.mark.tensorflow
def test_tensorflow_on_the_format_page_reads_the_same(demo: pathlib.Path) -> None:
    names: dict[str, Any] = {}
    for block in blocks("docs/format.md"):
        exec(compile(block, "docs/format.md", "exec"), names)
    assert names["tokens"][0].tolist() == next(iter(names["tensors"])).numpy().tolist()


def test_the_loader_page_is_right(demo: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its code, one block after the other, and its commands."""
    names: dict[str, Any] = {}
    for block in blocks("docs/loader.md"):
        exec(compile(block, "docs/loader.md", "exec"), names)
    assert names["batch"]["source"].shape == (8,)
    document = names["found"][0]["documents"][0]["doc_id"]
    commands = re.findall(r"^tokenreel (.*)$", (ROOT / "docs/loader.md").read_text(encoding="utf-8"), re.MULTILINE)
    capsys.readouterr()
    for command in commands:
        assert cli.main([document if word == "ID" else word for word in shlex.split(command)]) == 0
    assert len(commands) == 2 and "example " in capsys.readouterr().out.splitlines()[-1]


def test_the_code_about_tasks_runs():
    for block in blocks("docs/tasks.md"):
        exec(compile(block, "docs/tasks.md", "exec"), {})


def test_the_code_on_the_page_of_tokenization_runs() -> None:
    (block,) = blocks("docs/tokenization.md")
    exec(compile(block, "docs/tokenization.md", "exec"), {})


def test_every_command_is_on_the_page_of_running_it() -> None:
    page = (ROOT / "docs/running.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`tokenreel ([a-z-]+)", page)) == set(cli.COMMANDS)


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target, heading in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"
            if heading:
                other = page.parent / target if target else page
                found = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
                assert heading in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found], f"{page.name}: #{heading}"


def test_pages_are_narrow() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("configs/**/*.yaml")]:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            most = 210 if line.startswith("|") else 140  # no row of a table can be broken
            assert len(line) <= most, f"{page.name}:{number} has {len(line)} characters"


def test_the_settings_on_the_page_of_filters_are_settings() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/filters.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    job = reading.load(f"output: o\nvocabulary: {{kind: bytes}}\n{text}")
    assert [job.filters_of(i).min_words for i in range(4)] == [50, 1000, 50, 50]
    assert job.filters_of(1).lines == job.filters.lines
    page = (ROOT / "docs/filters.md").read_text(encoding="utf-8")
    reasons = set(cleaned.REASONS) - {""}
    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()


class Enough(Exception):
    """The training loop of the README has no end."""


COMMANDS = ("train-tokenizer", "build")


@pytest.fixture
def books(tmp_path: pathlib.Path, corpus: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory after the config and the commands of the README's first screen, word for word."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"^```yaml\n# (books\.yaml)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    train_tokenizer, build = (
        shlex.split(re.findall(rf"^tokenreel ({name} .*)$", page, re.MULTILINE)[0], comments=True) for name in COMMANDS
    )
    monkeypatch.chdir(tmp_path)
    pathlib.Path(settings[0]).write_text(settings[1], encoding="utf-8")
    shutil.copytree(corpus, "texts")
    shutil.copytree(ROOT / "configs", "configs")
    small = ["--set", "options.vocab_size=600", "--direct_num_workers=1"]
    assert cli.main([*train_tokenizer, *small]) == 0
    assert cli.main([*build, "--direct_num_workers=1"]) == 0


def test_the_first_screen_of_the_readme_is_right(books: None) -> None:
    """Its config and its commands, which the fixture runs, and its loop, word for word."""
    shapes = []

    def train(tokens: np.ndarray) -> None:
        shapes.append((tokens.shape, tokens.dtype))
        if len(shapes) == 3:
            raise Enough

    loop, _ = blocks("README.md")
    with pytest.raises(Enough):
        exec(compile(loop, "README.md", "exec"), {"train": train})
    assert shapes == [((64, 1024), np.dtype(np.int32))] * 3


@pytest.mark.tensorflow
def test_the_reader_without_tokenreel_in_the_readme_is_right(books: None) -> None:
    names: dict[str, object] = {}
    _, reader = blocks("README.md")
    exec(compile(reader, "README.md", "exec"), names)
    assert next(iter(names["tokens"])).shape == (1024,)  # type: ignore[call-overload]


def test_the_settings_on_the_page_of_sources_are_right() -> None:
    texts = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/sources.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    jobs = [reading.load(f"{text}\noutput: out\nvocabulary: {{kind: bytes, offsets: true}}\n") for text in texts]
    assert {source.format for source in jobs[0].sources} == {"jsonl", "parquet", "csv", "tsv", "tfds"}
    assert {source.plain_text_field for source in jobs[1].sources} == {None}


def defaults(kind: type, where: str = "") -> dict[str, object]:
    """Every setting below a dataclass, and its default; `...` where it has none."""
    found: dict[str, object] = {}
    for field, hint in ((field, typing.get_type_hints(kind)[field.name]) for field in dataclasses.fields(kind)):
        name = f"{where}{field.name}"
        inner = next((part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)), None)
        value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if inner is None or not dataclasses.is_dataclass(hint):
            found[name] = ... if value is dataclasses.MISSING else value
        if isinstance(inner, type):
            found |= defaults(inner, f"{name}.")
    return found


def shown(default: object) -> set[str]:
    """How the page may write a default."""
    if isinstance(default, dict) and "name" in default:
        return {str(default["name"])}
    if default is ...:
        return {"required"}
    if default in (None, (), {}):
        return {"none", "by mode"}
    if isinstance(default, bool):
        return {str(default).lower()}
    return {
        f"{default:,}" if isinstance(default, int) and default >= 10_000 else f"{default:g}" if isinstance(default, float) else str(default)
    }


def test_every_setting_is_on_the_page_of_settings() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    build, trainer = page.split("## Training a tokenizer")
    rows = {name: default for name, default in re.findall(r"^\| `([\w.*]+)` \| (.+?) \|", build, re.MULTILINE)}
    expected = {name: value for name, value in defaults(JobConfig).items() if not name.startswith("filters.")}
    for group in ("sources", "vocabulary"):  # they are the groups whose settings follow
        expected.pop(group, None)
    assert rows.keys() - expected.keys() == {"filters.*"} and expected.keys() <= rows.keys()
    assert {name: rows[name] for name, default in expected.items() if rows[name] not in shown(default)} == {}
    filters_page = (ROOT / "docs/filters.md").read_text(encoding="utf-8")
    own = [name.removeprefix("filters.") for name in defaults(JobConfig) if name.startswith("filters.")]
    assert [name for name in own if f"`{name}`" not in filters_page] == []
    rows = dict(re.findall(r"^\| `([\w.*]+)` \| (.+?) \|", trainer, re.MULTILINE))
    expected = {name: value for name, value in defaults(TokenizerJobConfig).items() if "." not in name}
    shared = {"output", "sources", "splits", "seed"}
    assert rows.keys() == expected.keys() - shared
    assert {name: rows[name] for name in rows if rows[name] not in shown(expected[name])} == {}


def test_every_reason_of_a_dead_letter_is_on_the_page_of_sources() -> None:
    page = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
    reasons: set[str] = set()
    readers = [
        *ROOT.glob("tokenreel/sources/readers/*.py"),
        ROOT / "tokenreel/vocabularies/token_ids.py",
        ROOT / "tokenreel/staging/labels.py",
    ]
    for path in [
        ROOT / f"tokenreel/sources/{name}.py" for name in ("reading", "lines", "values", "json_lines", "json_stream", "composed_text")
    ] + readers:
        code = path.read_text(encoding="utf-8")
        before = r'BadDocument\(\s*|fault\([^"\n]*|fault=\(|Problem\([^"\n]*|BROKEN_FILE = |return |= \(\s*|problem = |REASON = '
        reasons |= set(re.findall(rf'(?:{before})"([a-z0-9_]+)"', code))
    assert len(reasons) > 15
    told = page.split("| reason |")[1]
    assert reasons == {reason for row in re.findall(r"^\| (`.+?) \|", told, re.MULTILINE) for reason in re.findall(r"`(\w+)`", row)}
    table = page.split("| format |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:]))) == set(
        typing.get_args(typing.get_type_hints(SourceConfig)["format"])
    )


def test_every_kind_of_vocabulary_is_on_its_page() -> None:
    page = (ROOT / "docs/vocabularies.md").read_text(encoding="utf-8")
    rows = {kind: options for kind, options in re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", page, re.MULTILINE)}
    assert set(rows) == set(typing.get_args(typing.get_type_hints(VocabularyConfig)["kind"]))
    for kind, options in rows.items():
        with pytest.raises(VocabularyError, match="takes no option") as error:
            loading.load_vocabulary(kind, "x", no_such_option=1)
        known = str(error.value).split("it takes ")[1]
        assert set(re.findall(r"`(\w+)`", options)) == set(re.findall(r"'(\w+)'", known)), known


def test_every_setting_of_features_is_on_their_page() -> None:
    page = (ROOT / "docs/features.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.*]+)` \| (.+?) \|", page.split("## Settings")[1], re.MULTILINE))
    expected = {name: value for name, value in defaults(FeatureJobConfig).items() if name not in ("model", "layers", "shards.format")}
    assert rows.keys() == expected.keys()
    assert {name: rows[name] for name in rows if rows[name] not in shown(expected[name])} == {}
