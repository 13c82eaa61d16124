"""The same bytes on Beam's Prism as on this machine's runner: a second implementation of the model, with `make test-engines`.

Where the environment variable TOKENREEL_FLINK_JAR names the jar of Flink's job server, one build runs there, too.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from pipelines import cli
from pipelines.local import prism
from tests import verification_datasets
from tests.conftest import tree_digest
from tests.golden import builds
from tests.pipelines.test_cache_mixtures import MODULE as MIXTURES
from tests.pipelines.test_cache_mixtures import mixtures
from tests.pipelines.test_cache_tasks import units_of
from tests.pipelines.test_determinism import WriteConfig, build, selection
from tests.pipelines.test_interruption import kill, start, wait_for
from tests.pipelines.test_train_tokenizer import train, write_tokenizer_config
from tests.pipelines.test_verify import contradict, damage_records, flip, say

__all__ = ["mixtures", "write_tokenizer_config"]  # fixtures

PRISM = ("--runner=PrismRunner",)
FLINK = "TOKENREEL_FLINK_JAR"
needs_prism = pytest.mark.skipif(
    prism.find() is None and "engines" not in os.environ.get("TOKENREEL_REQUIRES", ""),
    reason="prism is not installed: `make test-engines` builds it",
)
pytestmark = [pytest.mark.engines, needs_prism]


def build_recipe(recipe: str, output: pathlib.Path, *arguments: str) -> dict[str, str]:
    """Builds the small dataset of a recipe that the golden datasets are, from a file on the disk."""
    settings = [*builds.vocabulary(recipe), *builds.settings(recipe)]
    given = [argument for setting in settings for argument in ("--set", setting)]
    config = str(builds.ROOT / f"configs/{recipe}.yaml")
    assert (
        cli.main(["build", config, "--input", str(builds.INPUTS / builds.text(recipe)), "--output", str(output), *given, *arguments]) == 0
    )
    return tree_digest(output)


@pytest.mark.parametrize("recipe", ["gpt2", "best_fit", "roberta", "t5"])
def test_presets(recipe: str, tmp_path: pathlib.Path) -> None:
    expected = build_recipe(recipe, tmp_path / "local")
    assert any(name.startswith("train.tfrecord") for name in expected)
    assert build_recipe(recipe, tmp_path / "prism", *PRISM) == expected


@pytest.mark.parametrize("unit", ["documents", "paragraphs"])
def test_duplicates(write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path, unit: str) -> None:
    config = write_config(**selection(corpus, unit))
    expected = build(config, tmp_path / "local")
    assert build(config, tmp_path / "prism", *PRISM, "--set", "execution.block_mb=0.02") == expected


def test_merge_passes(write_config: WriteConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config()
    expected = build(config, tmp_path / "local")
    limits = ("--set=execution.max_reads=120", "--set=execution.merge_files=4", "--set=execution.block_mb=0.01")
    capsys.readouterr()
    assert build(config, tmp_path / "prism", *PRISM, *limits) == expected
    assert "merge level" in capsys.readouterr().err


def test_a_trained_tokenizer(write_tokenizer_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_tokenizer_config()
    assert train(config, tmp_path / "prism", *PRISM) == train(config, tmp_path / "local")


def test_cached_tasks_and_the_order_of_a_mixture(mixtures: object, tmp_path: pathlib.Path) -> None:
    options = ["--mixtures", "mix:nested", "--base_seed", "5", "--mixture_epochs", "2", "--min_shards", "2", "--module_import", MIXTURES]
    for name, engine in (("local", ("--direct_num_workers=1",)), ("prism", PRISM)):
        with units_of(100):
            assert cli.main(["cache-tasks", *options, "--output_cache_dir", str(tmp_path / name), *engine]) == 0
    expected = tree_digest(tmp_path / "local")
    assert "mix/nested/train.order-00000-of-00001" in expected and "m/a/train.tfrecord-00001-of-00002" in expected
    assert tree_digest(tmp_path / "prism") == expected


def flip_a_byte(dataset: pathlib.Path) -> None:
    flip(dataset / "train.tfrecord-00001-of-00016")


def damage_and_contradict(dataset: pathlib.Path) -> None:
    contradict(dataset)
    damage_records(dataset)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: None, r"\A\Z"),
        (flip_a_byte, r"(?m)^train\.tfrecord-00001-of-00016: crc32c is 0x\w+, the manifest says"),
        (damage_and_contradict, r"(?m)^train\.tfrecord-00000-of-00016: missing\."),
    ],
    ids=["sound", "a flipped byte", "many"],
)
def test_verifying(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], damage: Callable[[pathlib.Path], None], said: str) -> None:
    """The same lines and the same exit code."""
    dataset = tmp_path / "made"
    verification_datasets.make(dataset, overlap=1, dead_letters=3)
    damage(dataset)
    code, lines = say(str(dataset), capsys, *PRISM)
    assert re.search(said, lines) and code == int(bool(lines))
    assert say(str(dataset), capsys) == (code, lines)


@pytest.mark.parametrize(("pattern", "number"), [(".stage/*.stage", 5), (".stage/*/shards/train.*.json", 2)])
def test_a_killed_build_is_simply_run_again(write_config: WriteConfig, tmp_path: pathlib.Path, pattern: str, number: int) -> None:
    config = write_config()
    expected = build(config, tmp_path / "local")
    process = start(config, tmp_path / "killed", *PRISM)
    wait_for(lambda: len(list((tmp_path / "killed").glob(pattern))) >= number or process.poll() is not None, seconds=600)
    kill(process)
    assert build(config, tmp_path / "killed", *PRISM) == expected


def run(config: str, output: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.build", config, "--output", str(output), *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True, timeout=300, check=False)


def test_the_terminal_is_the_users(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    """A build that ends well shows our lines alone, with `--debug` the engine's, too; one that fails ends with our message."""
    found = run(write_config(), tmp_path / "dataset", *PRISM)
    assert found.returncode == 0 and all(line.startswith("tokenreel: ") for line in found.stderr.splitlines()), found.stderr
    found = run(write_config(), tmp_path / "told", *PRISM, "--debug")
    assert found.returncode == 0 and "PrismRunner" in found.stderr.replace(PRISM[0], "")
    (tmp_path / "broken.jsonl").write_text('{"text": "some text of a document"}\n{"text": "unfinished\n' * 50)
    found = run(write_config("broken.yaml", sources=[{"files": [str(tmp_path / "broken.jsonl")]}]), tmp_path / "broken", *PRISM)
    assert found.returncode == 1 and "50 of 100 documents could not be read" in found.stderr
    assert len(found.stderr.splitlines()) < 12, found.stderr


@pytest.mark.skipif(FLINK not in os.environ, reason=f"{FLINK} names no jar of Flink's job server")
def test_flink(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    config = write_config()
    options = [f"--flink_job_server_jar={os.environ[FLINK]}", "--flink_master=[local]", "--environment_type=LOOPBACK", "--parallelism=2"]
    assert build(config, tmp_path / "flink", "--runner=FlinkRunner", *options) == build(config, tmp_path / "local")
