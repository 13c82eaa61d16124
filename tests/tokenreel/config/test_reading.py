from __future__ import annotations

import pathlib
import re

import pytest

from pipelines import cli
from tests.tokenreel.config.jobs import TEXT
from tokenreel.config import build, corpus, reading
from tokenreel.errors import ConfigError


def test_a_config_reads_back_as_it_was_meant() -> None:
    job = reading.load(TEXT)
    assert job.sources[1].files == ("b.txt",)
    assert job.splits == {"validation": 0.005, "test": 0.01}
    assert job.packing == build.PackingConfig()


def test_a_file_is_read_or_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "job.yaml"
    with pytest.raises(ConfigError, match=r"job\.yaml: cannot read the config"):
        reading.read(build.JobConfig, str(path))
    path.write_bytes(b"output: \xff")
    with pytest.raises(ConfigError, match=r"job\.yaml: cannot read the config .*'utf-8'"):
        reading.read(build.JobConfig, str(path))
    path.write_text(TEXT)
    expected = reading.load_as(build.JobConfig, TEXT, ["seed=5"], folder=str(tmp_path), output="x")
    assert reading.read(build.JobConfig, str(path), ["seed=5"], output="x") == expected


def test_overrides_create_and_replace() -> None:
    job = reading.load(TEXT, ["packing.seq_len=7", "sources.1.name=other", "execution={block_mb: 2}", "splits.test=25%"])
    assert (job.packing.seq_len, job.sources[1].name, job.execution.block_bytes, job.splits["test"]) == (7, "other", 2 << 20, 0.25)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("packing.seq_len", "write it as name=value"),
        (f"packing.seq_len={'9' * 5000}", "not YAML: Exceeds the limit"),
        ("packing.seq_len={", "--set packing.seq_len={: not YAML"),
        ("sources.5.name=x", "'5' is no index of a list of 2"),
        ("sources.name=x", "'name' is no index"),
        ("output.name=x", "name lies inside a value that holds no settings"),
    ],
)
def test_every_rule_has_a_message(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reading.load(TEXT, [override])


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "output: x", "", "[" * 5000, "seed: " + "9" * 5000, "seed: 2020-13-01"])
def test_what_is_no_config_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^mine\.yaml: "):
        reading.load(text, name="mine.yaml")


@pytest.mark.parametrize(
    ("text", "key", "first", "second"),
    [
        ("seed: 1\noutput: out\nseed: 2\n", "seed", 1, 3),
        ("packing:\n  seq_len: 64\n  mode: wrap\n  seq_len: 128\n", "packing.seq_len", 2, 4),
        ("packing:\n  seq_len: 64\nseed: 1\npacking: {mode: wrap}\n", "packing", 1, 4),
        ("sources:\n- files: [a]\n- files: [b]\n  files: [c]\n", "sources.1.files", 3, 4),
        ("filters: {quality: {max_top_ngram: {2: 0.2,\n '2': 0.3}}}\n", "filters.quality.max_top_ngram.2", 1, 2),
        ("base: &b {seed: 1,\n seed: 2}\na: *b\n", "base.seed", 1, 2),
        ("a: &a {x: 1}\nb: &b {x: 2}\nc:\n  <<: *a\n  <<: *b\n", "c.<<", 4, 5),
        ("a: &a {x: 1}\nc:\n  y: 1\n  <<: *a\n  y: 2\n", "c.y", 3, 5),
        ("c:\n  <<:\n  - {long: 1}\n  - {x: {}, long: 2}\n", "c.long", 3, 4),
        ("a: &a {<<: {long: 1}}\nc:\n  <<: [*a, {long: 2}]\n", "c.long", 1, 3),
        ("a: {b: [[{c: 1,\n\n c: 1}]]}\n", "a.b.0.0.c", 1, 3),
    ],
)
def test_a_key_given_twice_is_an_error_with_both_lines(text: str, key: str, first: int, second: int) -> None:
    expected = rf"^mine\.yaml: '{re.escape(key)}' is given in line {first} and again in line {second}, "
    with pytest.raises(ConfigError, match=expected):
        reading.load(text, name="mine.yaml")


def test_what_a_merge_brings_may_be_given_again() -> None:
    merged = f"{TEXT}packing: {{<<: [&a {{mode: pad}}, &b {{mode: wrap, add_eos: false}}], mode: best_fit, seq_len: 64}}\n"
    assert reading.load(merged).packing == build.PackingConfig(seq_len=64, mode="best_fit", add_eos=False)
    shared = "output: out\nvocabulary: {kind: bytes}\nsources: [&s {files: [a], name: a}, {<<: *s, name: b}]\n"
    assert [source.name for source in reading.load(shared).sources] == ["a", "b"]
    assert reading.load(TEXT, ["seed=1", "seed=2"]).seed == 2  # overrides are a list: the last counts
    with pytest.raises(ConfigError, match=r"^--set packing=.*'mode' is given in line 1 and again in line 1"):
        reading.load(TEXT, ["packing={mode: wrap, mode: pad}"])


def test_a_config_that_holds_itself_ends() -> None:
    with pytest.raises(ConfigError):
        reading.load("a: &a [*a]")


@pytest.mark.parametrize("command", ["build", "train-tokenizer"])
def test_commands_refuse_a_key_given_twice(command: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is written: the first `seq_len` was silently lost."""
    path = tmp_path / "config.yaml"
    path.write_text(f"{TEXT}packing:\n  seq_len: 64\n  seq_len: 128\n".replace("output: out", f"output: {tmp_path / 'out'}"))
    assert cli.main([command, str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"tokenreel: error: {path}: 'packing.seq_len' is given in line 7 and again in line 8, ")
    assert not (tmp_path / "out").exists()


def test_input_replaces_the_only_source() -> None:
    one = "output: out\nsources: [{files: [a], format: lines}]\nvocabulary: {kind: bytes}"
    assert reading.load(one, input=["x", "y"]).sources[0] == corpus.SourceConfig(files=("x", "y"), format="lines")
    with pytest.raises(ConfigError, match="--input replaces the files of the only source"):
        reading.load(TEXT, input=["x"])


def _nested(first: str, rest: str) -> str:
    """Nine names, each of which stands for nine of the one before."""
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    return f"a: &a {first}\n" + "".join(f"{name}: &{name} {rest.replace('*', ','.join(['*' + before] * 9))}\n" for before, name in pairs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_nested("[x]", "[*]") + "output: *i", "it stands for more than 100,000 values, counting those of its aliases"),
        (_nested("{k: 1}", "{<<: [*]}"), "it stands for more than 100,000 values, counting those of its aliases"),
        ("output: out\nsources: &a\n  - files: *a", "what begins in line 2 holds itself, by an alias"),
        ("- " * 2000, "not YAML: maximum recursion depth exceeded"),
        (
            f"{TEXT}filters: [{'[x, y], ' * 2000}]",
            r"filters must be a mapping of settings, got \[\['x', 'y'\], .*\.\.\.\]$",
        ),
        (f"{TEXT}filters: {'x' * 100_000}", r"filters must be a mapping of settings, got 'x{10,}\.\.\.x{10,}'$"),
    ],
)
def test_a_bomb_of_aliases_is_one_short_message(text: str, message: str) -> None:
    """363 bytes made a message of 351 MB."""
    with pytest.raises(ConfigError, match=message) as caught:
        reading.load(text)
    assert len(str(caught.value)) < 500


def test_a_config_has_no_megabytes(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("# " + "x" * (1 << 20))
    with pytest.raises(ConfigError, match=r"job\.yaml: more than 1,048,576 bytes, which no config has"):
        reading.read(build.JobConfig, str(path))


def test_a_path_with_a_nul_is_named(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(f'{TEXT}execution: {{stage: "a\\0b"}}')
    with pytest.raises(ConfigError, match=r"job\.yaml: .*'a\\x00b' is no path: it holds a NUL"):
        reading.read(build.JobConfig, str(path))
