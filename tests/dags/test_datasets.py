"""The DAGs, run as Airflow runs them: plan, build, verify, publish and clean up, whatever happens in between.

`make test-airflow` runs these in an environment of their own.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import tree_digest

pytestmark = pytest.mark.airflow

ROOT = pathlib.Path(__file__).parents[2]
DAGS = ROOT / "dags"
CONFIG = """
output: unused
sources: [{name: docs, files: ["text/*.jsonl"]}]
vocabulary: {kind: bytes}
packing: {seq_len: 64}
shards: {examples: 40}
execution: {block_mb: 0.004}
"""
# Stands for the command: does to a build what the test asks for, in front of or behind the real one.
COMMAND = """
import os, pathlib, signal, subprocess, sys, time
folder, arguments = pathlib.Path(sys.argv[1]), sys.argv[2:]
real = [sys.executable, "-m", "pipelines.cli", *arguments]
killed, flip = folder / "kill", folder / "flip"
with open(folder / "commands", "a") as log:
    log.write(" ".join(arguments[:2]) + "\\n")
if arguments[0] == "build" and killed.exists():
    killed.unlink()
    process = subprocess.Popen(real, start_new_session=True)
    while process.poll() is None and not list((folder / "books").glob("*/.stage/*.stage")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    os.kill(os.getpid(), signal.SIGKILL)
code = subprocess.run(real).returncode
if arguments[0] == "build" and flip.exists():
    flip.unlink()
    shard = max((folder / "books").glob("*/train.tfrecord-*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """A home of Airflow with a database of its own; nothing of Airflow may have been imported before."""
    home = tmp_path_factory.mktemp("airflow")
    variables = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "PYTHONPATH": str(ROOT),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
        yield home


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, airflow_home: pathlib.Path) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("scheduled")
    (folder / "text").mkdir()
    add(folder, "a")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "command.py").write_text(COMMAND)
    return folder


def add(folder: pathlib.Path, name: str) -> None:
    lines = [f'{{"text": "{name} document {i} of {"some few " * (i % 7)}words"}}\n' for i in range(60)]
    (folder / "text" / f"{name}.jsonl").write_text("".join(lines))


@pytest.fixture(scope="module")
def webhook() -> Iterator[tuple[str, list[str]]]:
    """An address that takes messages, and the messages."""
    told: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", told
        server.shutdown()


@pytest.fixture(scope="module")
def module(folder: pathlib.Path, webhook: tuple[str, list[str]]) -> ModuleType:
    """The DAG file, with a table of its own."""
    table = f"""
[books]
schedule = "@daily"
start = 2026-11-01
root = "{folder}/books"
config = "{folder}/config.yaml"
command = ["{sys.executable}", "{folder}/command.py", "{folder}"]
keep = 2
retries = 1
retry_seconds = 0.0
notify = "webhook"

[cloud]
mode = "dataflow"
root = "gs://bucket/books"
config = "gs://bucket/books.yaml"
project = "project"
region = "europe-west1"
template = "gs://bucket/build.json"
verify_template = "gs://bucket/verify.json"
environment = {{ maxWorkers = 5 }}

[caches]
kind = "cache-tasks"
root = "{folder}/caches"
command = ["{sys.executable}", "{folder}/command.py", "{folder}"]
tasks = ["qa:json"]
module_import = ["tests.pipelines.cached_tasks"]
retries = 0

[cloud_caches]
kind = "cache-tasks"
mode = "dataflow"
root = "gs://bucket/caches"
tasks = ["qa:.*", "lines"]
module_import = ["my_tasks"]
project = "project"
region = "europe-west1"
template = "gs://bucket/cache-tasks.json"
"""
    (folder / "datasets.toml").write_text(table)
    os.environ["TOKENREEL_DAGS"] = str(folder / "datasets.toml")
    os.environ["AIRFLOW_VAR_WEBHOOK"] = webhook[0]
    sys.path.insert(0, str(DAGS))
    import datasets

    assert datasets.__file__ == str(DAGS / "datasets.py")
    return datasets


@pytest.fixture(scope="module")
def run(module: ModuleType) -> Callable[..., dict[str, str]]:
    """Runs the DAG of a date, and gives the state of each task and of the run."""
    import pendulum

    def run(day: int, **conf: Any) -> dict[str, str]:
        found = module.books.test(logical_date=pendulum.datetime(2026, 11, day), run_conf=conf or None)
        return {"": str(found.state), **{ti.task_id: str(ti.state) for ti in found.get_task_instances()}}

    return run


def pointer(folder: pathlib.Path) -> str:
    return str(json.loads((folder / "books/latest.json").read_text())["dataset"])


def commands(folder: pathlib.Path) -> list[str]:
    """The commands since the last call."""
    path = folder / "commands"
    found = [line.split()[0] for line in path.read_text().splitlines()]
    path.write_text("")
    return found


def test_the_file_imports_without_an_error_and_nothing_of_the_project(airflow_home: pathlib.Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import datasets; print(*(m for m in sys.modules if m.startswith('tokenreel')))"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TOKENREEL_DAGS")}
    found = subprocess.run([sys.executable, "-c", code, str(DAGS)], capture_output=True, text=True, env=environment, cwd="/", check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1].strip() == ""


def test_dates_in_turn(folder: pathlib.Path, run: Callable[..., dict[str, str]], module: ModuleType) -> None:
    """A date, the same again, the next one, and an older one behind it."""
    done = dict.fromkeys(["", "plan", "build", "verify", "publish", "clean_up"], "success")
    assert run(10) == done
    assert commands(folder) == ["plan", "build", "verify", "inspect", "publish", "clean"]
    first = pointer(folder)
    assert first.startswith("2026-11-10T0000-")
    before = tree_digest(folder / "books")
    assert run(10) == done
    assert tree_digest(folder / "books") == before, "the same date again changes nothing"
    add(folder, "b")
    assert run(11) == done
    second = pointer(folder)
    assert second.startswith("2026-11-11T0000-")
    manifests = [json.loads((folder / "books" / name / "manifest.json").read_text()) for name in (first, second)]
    assert [each["totals"]["inputs"]["docs"]["files"] for each in manifests] == [1, 2]
    assert run(9) == done
    assert pointer(folder) == second, "an older date leaves the pointer"
    dated = sorted(path.name[:10] for path in (folder / "books").glob("2026-*") if path.is_dir())
    assert dated == ["2026-11-10", "2026-11-11"], "and is the first to go"
    commands(folder)


def test_a_flipped_byte_is_never_published(
    folder: pathlib.Path, run: Callable[..., dict[str, str]], webhook: tuple[str, list[str]]
) -> None:
    before = pointer(folder)
    webhook[1].clear()
    (folder / "flip").touch()
    states = run(12)
    assert (states[""], states["build"], states["verify"]) == ("failed", "success", "failed")
    assert states["publish"] == states["clean_up"] == "upstream_failed"
    assert pointer(folder) == before and "publish" not in commands(folder)
    assert len(webhook[1]) == 1 and webhook[1][0].startswith("books: verify of ")


def test_a_build_that_is_killed_is_taken_up(folder: pathlib.Path, run: Callable[..., dict[str, str]]) -> None:
    (folder / "kill").touch()
    assert run(13)[""] == "success"
    assert commands(folder) == ["plan", "build", "build", "verify", "inspect", "publish", "clean"]
    assert pointer(folder).startswith("2026-11-13T0000-")


def test_absurd_sizes_are_refused_at_once(folder: pathlib.Path, run: Callable[..., dict[str, str]]) -> None:
    states = run(14, most_bytes=100)
    assert (states["plan"], states["build"]) == ("failed", "upstream_failed")
    assert commands(folder) == ["plan"], "what is refused is not tried again"


def test_parameters_are_typed(run: Callable[..., dict[str, str]]) -> None:
    with pytest.raises(Exception, match="keep"):
        run(15, keep="many")


def test_a_task_that_is_killed_ends_its_command(module: ModuleType, folder: pathlib.Path) -> None:
    settings = module.dataset_settings.DatasetSettings(
        dag_id="sleeper", root=str(folder), config="config", command=(sys.executable, "-c", "import time; time.sleep(600)")
    )
    task = module.RunTokenreel(task_id="sleep", settings=settings, commands=[])
    raised: list[BaseException] = []

    def work() -> None:
        try:
            task.run_command(["build"])
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while task._process is None:
        time.sleep(0.01)
    task.on_kill()
    thread.join()
    assert task._process.returncode == -15 and "ended with exit code -15" in str(raised[0])


class FakeDataflow:
    """What the operator asks the service: jobs by name, and launches."""

    def __init__(self) -> None:
        self.active: list[dict[str, str]] = []
        self.launched: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self

    def list(self, **asked: Any) -> Any:
        assert (asked["projectId"], asked["location"], asked["filter"]) == ("project", "europe-west1", "ACTIVE")
        return self.answering({"jobs": [job for job in self.active if job["name"] == asked["name"]]})

    def list_next(self, *_: Any) -> None:
        return None

    def launch(self, **asked: Any) -> Any:
        self.launched.append(asked["body"])
        job = {"id": f"job-{len(self.launched)}", "name": asked["body"]["launchParameter"]["jobName"]}
        self.active.append(job)
        return self.answering({"job": job})

    @staticmethod
    def answering(answer: dict[str, Any]) -> Any:
        return type("Request", (), {"execute": lambda self, **_: answer})()


@pytest.fixture
def service(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> FakeDataflow:
    """The service in place of Google's."""
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook
    from airflow.providers.google.cloud.links.dataflow import DataflowJobLink

    service = FakeDataflow()
    monkeypatch.setattr(DataflowHook, "__init__", lambda self, **_: None)
    monkeypatch.setattr(DataflowHook, "get_conn", lambda self: service)
    monkeypatch.setattr(DataflowHook, "num_retries", 0, raising=False)
    monkeypatch.setattr(DataflowJobLink, "persist", lambda **_: None)
    return service


PLAN = {"config": "gs://bucket/books/D-F.plan.yaml", "output": "gs://bucket/books/2026-11-29T0000-3fa9c01b77d2", "complete": False}


def context(module: ModuleType, dag: str, plan: dict[str, Any] = PLAN, **params: Any) -> dict[str, Any]:
    """What a task is given, with the parameters of its DAG."""
    values = {**getattr(module, dag).params.dump(), **params}
    return {"params": values, "ti": type("TI", (), {"xcom_pull": lambda self, **_: plan})()}


def test_a_second_attempt_follows_the_running_job(module: ModuleType, service: FakeDataflow) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    task = module.cloud.get_task("build")
    for _ in range(2):
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(context(module, "cloud"))
        trigger = deferred.value.trigger
        assert (trigger.job_id, trigger.cancel_on_kill, trigger.project_id) == ("job-1", True, "project")
    assert service.launched == [
        {
            "launchParameter": {
                "jobName": "cloud-2026-11-29t0000-3fa9c01b77d2",
                "containerSpecGcsPath": "gs://bucket/build.json",
                "parameters": {"config": PLAN["config"]},
                "environment": {"maxWorkers": 5},
            }
        }
    ]
    service.active.clear()
    with contextlib.suppress(TaskDeferred):
        task.execute(context(module, "cloud"))
    assert len(service.launched) == 2, "a job that is done is no longer followed"


def test_on_dataflow_a_job_checks_everything(module: ModuleType, service: FakeDataflow) -> None:
    """The worker of Airflow reads a little of the dataset; all of it is read by a job of a name of its own."""
    from airflow.sdk.exceptions import TaskDeferred

    assert module.cloud.get_task("verify_fully").upstream_task_ids == {"verify"}
    assert module.cloud.get_task("publish").upstream_task_ids == {"verify_fully"}
    quick = [command(context(module, "cloud")["params"], PLAN) for command in module.cloud.get_task("verify").commands]
    assert [*quick[0]] == ["verify", PLAN["output"], "--quick"] and quick[1][0] == "inspect"
    task = module.cloud.get_task("verify_fully")
    assert task.execute(context(module, "cloud", verify="quick")) is None and service.launched == []
    with pytest.raises(TaskDeferred):
        task.execute(context(module, "cloud"))
    (launched,) = [body["launchParameter"] for body in service.launched]
    assert (launched["jobName"], launched["containerSpecGcsPath"]) == (
        "cloud-verify-2026-11-29t0000-3fa9c01b77d2",
        "gs://bucket/verify.json",
    )
    assert launched["parameters"] == {"job": "verify", "directory": PLAN["output"]}
    assert launched["environment"] == {"maxWorkers": 5}


def test_a_dataset_that_is_there_is_not_launched_again(module: ModuleType, service: FakeDataflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher would start a job that does nothing."""
    task = module.cloud.get_task("build")
    assert task.execute(context(module, "cloud", plan={**PLAN, "complete": True})) is None and service.launched == []
    told = {"gs://a": '{"state": "complete"}\n', "gs://b": '{"state": "stopped"}\n', "gs://c": ""}
    plan = module.cloud.get_task("plan")
    monkeypatch.setattr(module.PlanDataset, "run_command", lambda self, arguments, allowed: told[arguments[1]])
    assert [plan.is_complete(output) for output in told] == [True, False, False]


def test_what_is_launched_is_what_the_templates_take(module: ModuleType, service: FakeDataflow) -> None:
    """The launcher of the image turns each request into a command."""
    from airflow.sdk.exceptions import TaskDeferred

    for dag, task in (("cloud", "build"), ("cloud", "verify_fully"), ("cloud_caches", "cache_tasks")):
        with pytest.raises(TaskDeferred):
            getattr(module, dag).get_task(task).execute(context(module, dag))
    given = [body["launchParameter"]["parameters"] for body in service.launched]
    assert given[2] == {
        "job": "cache-tasks",
        "tasks": "qa:.*;lines",
        "module_import": "my_tasks",
        "output_cache_dir": "gs://bucket/caches",
    }
    for values in given:
        described = json.loads((ROOT / f"dataflow_templates/metadata/{values.get('job', 'build')}.json").read_text())
        taken = {parameter["name"]: parameter for parameter in described["parameters"]}
        assert all(re.search(pattern, values[name]) for name in values for pattern in taken[name].get("regexes", []))
        assert {name for name, parameter in taken.items() if not parameter["isOptional"]} <= set(values)


def test_caches_of_tasks(module: ModuleType, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To its end, and again: what is cached is found."""
    import pendulum

    data = folder / "tasks"
    data.mkdir()
    rows = [{"question": f"question {n}", "answer": f"answer {n}", "id": n, "answers": []} for n in range(30)]
    for name, part in (("train-0.jsonl", rows), ("validation.jsonl", rows[:3])):
        (data / name).write_text("".join(f"{json.dumps(row)}\n" for row in part))
    monkeypatch.setenv("TOKENREEL_TEST_DATA", str(data))
    digests = []
    for day in (10, 11):
        (folder / "commands").write_text("")
        found = module.caches.test(logical_date=pendulum.datetime(2026, 11, day))
        assert [(ti.task_id, str(ti.state)) for ti in found.get_task_instances()] == [("cache_tasks", "success")]
        assert commands(folder) == ["cache-tasks"]
        digests.append(tree_digest(folder / "caches"))
    assert digests[0] == digests[1]
    told = json.loads((folder / "caches/qa/json/manifest.json").read_text())
    assert {split: sum(shard["data"]["records"] for shard in each["shards"]) for split, each in told["splits"].items()} == {
        "train": 30,
        "validation": 3,
    }
    (folder / "commands").write_text("")
    monkeypatch.setenv("TOKENREEL_TEST_DATA", str(folder / "nowhere"))
    assert str(module.caches.test(logical_date=pendulum.datetime(2026, 11, 12)).state) == "failed"
