"""Two jobs, one output: one wins and its dataset is whole, the other says so and writes nothing more, whatever comes when."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipelines import cli, local
from pipelines.local import elsewhere
from tests import buckets
from tests.conftest import tree_digest
from tokenreel.assembly import examples, finishing
from tokenreel.converting import row_output
from tokenreel.errors import LostOutputError
from tokenreel.format import manifest, naming
from tokenreel.loaders import load
from tokenreel.storage import claims, files, gcs, placing
from tokenreel.tasks import MixtureRegistry, TaskRegistry
from tokenreel.tokenizer_training import output as tokenizer_output
from tokenreel.tokenizer_training import sample

WORKERS = ["--environment_type=EXTERNAL", "--environment_config=localhost:1"]  # never asked: see `Elsewhere`
Capture = pytest.CaptureFixture[str]
SECONDS = 600.0  # for what never takes so long
TASKS = "tests.pipelines.built_tasks"
LATE, WINNER = 1, 2  # the seeds of the two jobs: their shards have the same names and sizes, and other bytes


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("fencing")
    (folder / "text.jsonl").write_text(
        "".join(f'{{"text": "document {i} of {"some few " * (i % 7)}words"}}\n' for i in range(60)) + "bad\n"
    )
    settings = {
        "output": "unused",
        "sources": [{"name": "docs", "files": ["text.jsonl"]}],
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": 64},
        "shards": {"examples": 20},
        "execution": {"block_mb": 0.002, "max_dead_letter_fraction": 0.5},
    }
    (folder / "config.yaml").write_text(json.dumps(settings))
    return str(folder / "config.yaml")


@pytest.fixture(scope="module")
def expected(config: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of the winner, when it is alone."""
    output = tmp_path_factory.mktemp("alone") / "dataset"
    assert cli.main(["build", config, "--output", str(output), "--set", f"seed={WINNER}", "--direct_num_workers=1"]) == 0
    return tree_digest(output)


class Gates:
    """Where jobs wait for the test: (seed, place) names a moment in one of them."""

    def __init__(self) -> None:
        self.closed: dict[tuple[int, str], threading.Event] = {}
        self.reached: dict[tuple[int, str], threading.Event] = {}

    def close(self, seed: int, place: str) -> None:
        self.closed[seed, place], self.reached[seed, place] = threading.Event(), threading.Event()

    def open(self, seed: int, place: str) -> None:
        self.closed[seed, place].set()

    def wait_for(self, seed: int, place: str) -> None:
        assert self.reached[seed, place].wait(SECONDS), f"the job never came to {place}"

    def pass_through(self, seed: int, place: str) -> None:
        if (seed, place) in self.closed and not self.closed[seed, place].is_set():
            self.reached[seed, place].set()
            assert self.closed[seed, place].wait(SECONDS)


class Elsewhere(FnApiRunner):  # type: ignore[misc]
    """A runner that takes a job and returns: the job runs in a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.thread: threading.Thread | None = None
        self.job_id = f"job-{id(self)}"

    def run_pipeline(self, pipeline: Any, options: Any) -> Elsewhere:
        def work() -> None:
            try:
                with local.plain_errors():
                    super(Elsewhere, self).run_pipeline(pipeline, options)
            except Exception as error:
                self.error = error

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        return self

    def end(self) -> Exception | None:
        assert self.thread is not None
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        return self.error


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    """Gates in the midst of the first shard, before the end, and in a bucket between the last look at the claim and a move."""
    gates, seeds = Gates(), dict[str, int]()
    assemble, finish, copy = examples.assemble, finishing.finish, placing._copy
    measure, train, rows = sample.measure, tokenizer_output.finish, row_output.finish

    def assembling(order: Any, plan: Any) -> Iterator[Any]:
        gates.pass_through(order.config.seed, "shard")
        return assemble(order, plan)

    def ending(recipe: Any, work: Any, *arguments: Any) -> Any:
        seeds[work.claim.token] = recipe.config.seed
        gates.pass_through(recipe.config.seed, "finish")
        return finish(recipe, work, *arguments)

    def rows_ending(job: Any, *arguments: Any) -> Any:
        seeds[job.claim.token] = job.config.seed
        gates.pass_through(job.config.seed, "finish")
        return rows(job, *arguments)

    def measuring(documents: Any, source: int, seed: int, *rest: Any) -> Any:
        gates.pass_through(seed, "sample")
        return measure(documents, source, seed, *rest)

    def trained(config: Any, work: Any, *arguments: Any) -> Any:
        seeds[work.claim.token] = config.seed
        gates.pass_through(config.seed, "finish")
        return train(config, work, *arguments)

    def copying(output: Any, present: Any, moved: Any) -> None:
        gates.pass_through(seeds.get(output.claim.token, 0), "manifest" if moved.name == naming.MANIFEST else "move")
        copy(output, present, moved)

    monkeypatch.setattr(examples, "assemble", assembling)
    monkeypatch.setattr(finishing, "finish", ending)
    monkeypatch.setattr(row_output, "finish", rows_ending)
    monkeypatch.setattr(sample, "measure", measuring)
    monkeypatch.setattr(tokenizer_output, "finish", trained)
    monkeypatch.setattr(placing, "_copy", copying)
    return gates


@pytest.fixture
def runners(monkeypatch: pytest.MonkeyPatch) -> list[Elsewhere]:
    made: list[Elsewhere] = []

    def make(_: Any) -> Elsewhere:
        made.append(Elsewhere())
        return made[-1]

    monkeypatch.setattr(elsewhere, "make_runner", make)
    monkeypatch.setattr(local, "check_endpoint", lambda _: None)
    return made


@pytest.fixture(params=["disk", "bucket"])
def output(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.01)
    with buckets.storage() if request.param == "bucket" else contextlib.nullcontext(str(tmp_path)) as place:
        yield f"{place}/dataset"


def launch(config: str, output: str, seed: int, command: str = "build", *more: str) -> int:
    """Hands a job over as a user does."""
    return cli.main(
        [
            command,
            config,
            "--output",
            output,
            "--set",
            f"seed={seed}",
            "--runner=PortableRunner",
            *WORKERS,
            "--no-wait",
            *more,
        ]
    )


def found(output: str, tmp_path: pathlib.Path) -> dict[str, str]:
    """The files of the dataset, without what lies below `.stage/`."""
    copy = tmp_path / "copy"
    for name in files.list_files(output):
        if not name.startswith(".stage/"):
            files.write_bytes(str(copy / name), files.read_bytes(f"{output}/{name}"))
    return tree_digest(copy)


def check(output: str, expected: dict[str, str], tmp_path: pathlib.Path) -> None:
    assert found(output, tmp_path) == expected
    assert cli.main(["verify", output, "--quiet"]) == 0
    assert load(output).manifest.fingerprint == manifest.read(output).fingerprint


def refuse_others(config: str, output: str, gates: Gates, runners: list[Elsewhere], capsys: Capture, *command: str) -> None:
    """Launches others while the winner's job has the output, which then ends and leaves nothing of itself."""
    for seed in (LATE, WINNER):
        assert launch(config, output, seed, *command) == 1
        shown = capsys.readouterr().err
        assert f"another job is writing here (job {runners[0].job_id} on PortableRunner, last sign of life" in shown
        assert "If it was cancelled, or failed, run this again" in shown and f"remove {output}/{claims.RECORD}" in shown
    assert len(runners) == 1
    gates.open(WINNER, "finish")
    assert runners[0].end() is None
    assert not [name for name in files.list_files(output) if name.startswith(".")], "nothing is left of the job"


def lose(config: str, output: str, gates: Gates, runners: list[Elsewhere], late: str, winner: str, *command: str) -> None:
    """Lets a job go on that lost its output to another, when that is done or at a moment of it."""
    gates.close(LATE, late)
    assert launch(config, output, LATE, *command) == 0
    gates.wait_for(LATE, late)
    files.remove(f"{output}/{claims.RECORD}")  # as the message of a refused launch says
    if winner:
        gates.close(WINNER, winner)
    assert launch(config, output, WINNER, *command) == 0
    if winner:
        gates.wait_for(WINNER, winner)
    else:
        assert runners[1].end() is None
    gates.open(LATE, late)
    error = runners[0].end()
    assert isinstance(error, LostOutputError) and "This job stops before it writes anything more" in str(error)
    if winner:
        gates.open(WINNER, winner)
        assert runners[1].end() is None


def test_a_job_that_nobody_waits_for_holds_the_output_and_clears_up(
    config: str, output: str, expected: dict[str, str], gates: Gates, runners: list[Elsewhere], tmp_path: pathlib.Path, capsys: Capture
) -> None:
    gates.close(WINNER, "finish")
    assert launch(config, output, WINNER) == 0
    gates.wait_for(WINNER, "finish")
    refuse_others(config, output, gates, runners, capsys)
    check(output, expected, tmp_path)
    assert launch(config, output, WINNER) == 0 and len(runners) == 1
    assert "is complete already" in capsys.readouterr().err


# Where the late job is when the winner begins. On a disk nobody takes the output between the last look and a move.
MOMENTS = [("disk", "shard"), ("disk", "finish"), *(("bucket", place) for place in ("shard", "finish", "move", "manifest"))]


@pytest.mark.parametrize(("output", "late"), MOMENTS, indirect=["output"])
@pytest.mark.parametrize("winner", ["", "shard", "finish"])
def test_a_job_that_lost_the_output_changes_nothing(
    config: str,
    output: str,
    expected: dict[str, str],
    gates: Gates,
    runners: list[Elsewhere],
    tmp_path: pathlib.Path,
    late: str,
    winner: str,
) -> None:
    """It goes on when the winner is done, or at some moment of it; its shards have the names and sizes of the winner's."""
    lose(config, output, gates, runners, late, winner)
    check(output, expected, tmp_path)


def test_no_other_job_comes_between_the_last_look_and_the_moves_on_a_disk(
    config: str,
    expected: dict[str, str],
    runners: list[Elsewhere],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """A launcher that is gone leaves a job behind, which is just moving its files."""
    output, codes = str(tmp_path / "dataset"), []
    rename = placing._rename

    def renaming(directory: str, moved: Any) -> None:
        if moved.name == naming.MANIFEST and not codes:
            codes.append(launch(config, output, LATE))
        rename(directory, moved)

    monkeypatch.setattr(placing, "_rename", renaming)
    assert launch(config, output, WINNER) == 0
    assert runners[0].end() is None
    assert codes == [1] and "another job is writing here" in capsys.readouterr().err
    check(output, expected, tmp_path)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A config of the rows of a task with a random step."""
    folder = tmp_path_factory.mktemp("task")
    rows = [{"question": f"question {n} " + "x" * (n % 17), "answer": f"answer {n} " + "y" * (n * 7 % 23)} for n in range(90)]
    for name in ("train-0.jsonl", "validation.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"task": "qa", "module_import": TASKS, "feature_converter": {"name": "EncDecFeatureConverter"}, "shards": {"examples": 8}}
    settings |= {"output": "unused", "task_feature_lengths": {"inputs": 40, "targets": 48}}
    (folder / "config.yaml").write_text(json.dumps(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENREEL_TEST_DATA", str(folder))
        for registry in (TaskRegistry, MixtureRegistry):
            patch.setattr(registry, "_REGISTRY", {})
        sys.modules.pop(TASKS, None)
        yield str(folder / "config.yaml")
    sys.modules.pop(TASKS, None)


@pytest.fixture(scope="module")
def built_task(task: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of the winner, when it is alone."""
    folder = tmp_path_factory.mktemp("alone")
    for seed in (LATE, WINNER):
        arguments = ["--output", str(folder / str(seed)), "--set", f"seed={seed}", "--direct_num_workers=1"]
        assert cli.main(["build", task, *arguments]) == 0
    late, winner = (tree_digest(folder / str(seed)) for seed in (LATE, WINNER))
    assert late.keys() == winner.keys() and late != winner
    return winner


def test_a_build_of_a_task_that_nobody_waits_for_holds_the_output_and_clears_up(
    task: str, output: str, built_task: dict[str, str], gates: Gates, runners: list[Elsewhere], tmp_path: pathlib.Path, capsys: Capture
) -> None:
    gates.close(WINNER, "finish")
    assert launch(task, output, WINNER) == 0
    assert f"job {runners[0].job_id} on PortableRunner has the output until it is done" in capsys.readouterr().err
    gates.wait_for(WINNER, "finish")
    refuse_others(task, output, gates, runners, capsys)
    check(output, built_task, tmp_path)
    assert launch(task, output, WINNER) == 0 and len(runners) == 1
    assert "is complete already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "late", "winner"), [("disk", "finish", ""), ("bucket", "finish", "finish"), ("bucket", "move", "")], indirect=["output"]
)
def test_a_build_of_a_task_that_lost_the_output_changes_nothing(
    task: str,
    output: str,
    built_task: dict[str, str],
    gates: Gates,
    runners: list[Elsewhere],
    tmp_path: pathlib.Path,
    late: str,
    winner: str,
) -> None:
    lose(task, output, gates, runners, late, winner)
    check(output, built_task, tmp_path)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "text.jsonl").write_text("".join(f'{{"text": "{"some few words"[i % 9 :]} {i} {chr(945 + i % 20)}"}}\n' for i in range(200)))
    settings = {
        "output": "unused",
        "sources": [{"name": "docs", "files": ["text.jsonl"]}],
        "options": {"model_type": "char", "hard_vocab_limit": False},
        "sample_bytes": 300,
        "execution": {"block_mb": 0.002},
    }
    (folder / "config.yaml").write_text(json.dumps(settings))
    return str(folder / "config.yaml")


@pytest.fixture(scope="module")
def trained(tokenizer: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, str]]:
    """The files of both jobs, when they are alone."""
    found, folder = {}, tmp_path_factory.mktemp("alone")
    for seed in (LATE, WINNER):
        arguments = ["--output", str(folder / str(seed)), "--set", f"seed={seed}", "--direct_num_workers=1"]
        assert cli.main(["train-tokenizer", tokenizer, *arguments]) == 0
        found[seed] = tree_digest(folder / str(seed))
    assert found[LATE]["tokenizer.model"] != found[WINNER]["tokenizer.model"]
    return found


def test_a_training_that_nobody_waits_for_holds_the_output_and_clears_up(
    tokenizer: str,
    output: str,
    trained: dict[int, dict[str, str]],
    gates: Gates,
    runners: list[Elsewhere],
    tmp_path: pathlib.Path,
    capsys: Capture,
) -> None:
    gates.close(WINNER, "finish")
    assert launch(tokenizer, output, WINNER, "train-tokenizer") == 0
    assert f"job {runners[0].job_id} on PortableRunner has the output until it is done" in capsys.readouterr().err
    gates.wait_for(WINNER, "finish")
    assert [name for name in files.list_files(output) if name.endswith(".sample")]
    refuse_others(tokenizer, output, gates, runners, capsys, "train-tokenizer")
    assert found(output, tmp_path) == trained[WINNER]
    assert launch(tokenizer, output, WINNER, "train-tokenizer") == 0 and len(runners) == 1
    assert "is complete already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "late", "winner"),
    [("disk", "sample", ""), ("disk", "finish", "finish"), ("bucket", "sample", "finish"), ("bucket", "move", "")],
    indirect=["output"],
)
def test_a_training_that_lost_the_output_changes_nothing(
    tokenizer: str,
    output: str,
    trained: dict[int, dict[str, str]],
    gates: Gates,
    runners: list[Elsewhere],
    tmp_path: pathlib.Path,
    late: str,
    winner: str,
) -> None:
    """Both would write files of the same names."""
    lose(tokenizer, output, gates, runners, late, winner, "train-tokenizer")
    assert found(output, tmp_path) == trained[WINNER]


def test_trainings_that_share_a_directory_for_text_leave_each_other_alone(
    tokenizer: str, trained: dict[int, dict[str, str]], gates: Gates, runners: list[Elsewhere], tmp_path: pathlib.Path
) -> None:
    stage = f"execution.stage={tmp_path / 'stage'}"
    gates.close(WINNER, "finish")
    for place in ("first", "second"):
        assert launch(tokenizer, str(tmp_path / place), WINNER, "train-tokenizer", "--set", stage) == 0
    gates.wait_for(WINNER, "finish")
    assert launch(tokenizer, str(tmp_path / "other"), LATE, "train-tokenizer", "--set", stage) == 0
    assert runners[2].end() is None
    gates.open(WINNER, "finish")
    assert [runner.end() for runner in runners[:2]] == [None, None]
    assert [tree_digest(tmp_path / name) for name in ("first", "second", "other")] == [trained[WINNER]] * 2 + [trained[LATE]]
    assert not files.list_files(str(tmp_path / "stage"))
