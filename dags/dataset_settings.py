"""The parameters of the DAGs, typed and in one place: what `datasets.toml` may say, a table for each DAG.

Imports nothing of the project and nothing of Airflow, so that whoever reads or tests the parameters needs neither.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import re
import tomllib
import typing
from collections.abc import Mapping
from typing import Any

FILE = "TOKENREEL_DAGS"  # environment variable that names another file in place of `datasets.toml`
_JOB_NAME = 63  # characters that Dataflow takes


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """One scheduled dataset.

    Attributes:
      dag_id: name of the DAG.
      kind: "build", or "cache-tasks" to fill caches of tasks.
      schedule: cron expression or preset such as "@daily"; "" runs by hand alone.
      start: first date.
      catchup: whether dates since `start` that were missed are made up for.
      mode: "local" runs the command on the worker of Airflow, "dataflow" starts a flex template.
      command: the program, and arguments that stand before all others.
      root: directory of the dated outputs, or of the caches, local or `gs://`.
      config: of the build.
      overrides: settings of the config to change, NAME=VALUE.
      pointer: what trainers read; `latest.json` in `root` by default.
      keep: finished datasets that `clean` keeps.
      least_bytes, most_bytes: of the sources together: another size is refused before anything is built.
      most_dollars: that Dataflow may cost by the plan.
      verify: "full" reads all of a dataset, on Dataflow in a job; "quick" compares names, sizes and a bucket's checksums. Both decode a
        sample.
      tasks, module_import: patterns of the tasks to cache, and the modules that register them.
      retries: of each task, after `retry_seconds` each.
      notify: name of an Airflow variable that holds the address of a webhook, which is told of failures as {"text": ...}; "" tells the log.
      project, region: of Dataflow.
      template: the specification of the flex template in a bucket, of the job that `kind` names.
      verify_template: the one of the job `verify`, which a full check on Dataflow runs.
      environment: of the flex template, as its launch request takes it: `maxWorkers`, `tempLocation`, `serviceAccountEmail`, ...
      gcp_conn_id: Airflow's connection to Google Cloud.
    """

    dag_id: str
    kind: str = "build"
    schedule: str = ""
    start: datetime.date = datetime.date(2026, 1, 1)
    catchup: bool = False
    mode: str = "local"
    command: tuple[str, ...] = ("tokenreel",)
    root: str = ""
    config: str = ""
    overrides: tuple[str, ...] = ()
    pointer: str = ""
    keep: int = 7
    least_bytes: int = 1
    most_bytes: int = 100 * 10**12
    most_dollars: float = 1_000.0
    verify: str = "full"
    tasks: tuple[str, ...] = ()
    module_import: tuple[str, ...] = ()
    retries: int = 2
    retry_seconds: float = 300.0
    notify: str = ""
    project: str = ""
    region: str = ""
    template: str = ""
    verify_template: str = ""
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gcp_conn_id: str = "google_cloud_default"

    def __post_init__(self) -> None:
        def require(held: bool, message: str) -> None:
            if not held:
                raise ValueError(f"{self.dag_id}: {message}")

        require(re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", self.dag_id) is not None, f"dag_id {self.dag_id!r} is no name of a DAG")
        require(self.kind in ("build", "cache-tasks"), f"kind must be build or cache-tasks, got {self.kind!r}")
        require(self.mode in ("local", "dataflow"), f"mode must be local or dataflow, got {self.mode!r}")
        require(self.verify in ("full", "quick"), f"verify must be full or quick, got {self.verify!r}")
        require(bool(self.root), "root is missing: the directory of the outputs")
        require(bool(self.config) or self.kind != "build", "config is missing: the config of the build")
        require(bool(self.tasks) or self.kind != "cache-tasks", "tasks is missing: patterns of the tasks to cache")
        require(self.keep >= 1, f"keep must be at least 1, got {self.keep}")
        require(0 <= self.least_bytes <= self.most_bytes, "least_bytes must be at most most_bytes")
        if self.mode == "dataflow":
            for name in ("project", "region", "template"):
                require(bool(getattr(self, name)), f"{name} is missing, which Dataflow needs")
            require(self.root.startswith("gs://"), f"root must lie in a bucket for Dataflow, got {self.root!r}")
            full = self.kind == "build" and self.verify == "full"
            require(
                bool(self.verify_template) or not full,
                'verify_template is missing, which a full check on Dataflow needs: or verify = "quick"',
            )

    @property
    def latest(self) -> str:
        """Where the pointer lies."""
        return self.pointer or f"{self.root.rstrip('/')}/latest.json"


PARAMETERS = ("config", "overrides", "keep", "least_bytes", "most_bytes", "most_dollars", "verify", "tasks", "module_import")
"""The fields that a run may be started with other values of; the others make the DAG itself."""

_SCHEMAS = {
    "str": {"type": "string"},
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number", "minimum": 0},
    "tuple[str, ...]": {"type": "array", "items": {"type": "string"}},
}


def parameters(settings: DatasetSettings) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Gives the parameters of a run: name to default and JSON schema."""
    kinds = {field.name: str(field.type) for field in dataclasses.fields(settings)}
    found = {}
    for name in PARAMETERS:
        value, schema = getattr(settings, name), dict(_SCHEMAS[kinds[name]])
        if name == "verify":
            schema["enum"] = ["full", "quick"]
        found[name] = (list(value) if isinstance(value, tuple) else value, schema)
    return found


def read(path: str | None = None) -> list[DatasetSettings]:
    """Reads the tables of a TOML file: by default the one that `TOKENREEL_DAGS` names, else `datasets.toml` beside this file.

    Raises:
      ValueError: a field is unknown, of another type, or impossible; names the table.
    """
    path = path or os.environ.get(FILE) or str(pathlib.Path(__file__).parent / "datasets.toml")
    with open(path, "rb") as file:
        tables = tomllib.load(file)
    return [_settings(name, table) for name, table in tables.items()]


def _settings(name: str, table: Any) -> DatasetSettings:
    kinds = typing.get_type_hints(DatasetSettings)
    if not isinstance(table, dict):
        raise ValueError(f"{name}: expected a table of settings, got {table!r}")
    if unknown := sorted(table.keys() - (kinds.keys() - {"dag_id"})):
        raise ValueError(f"{name}: unknown are {', '.join(unknown)}; there are {', '.join(sorted(kinds.keys() - {'dag_id'}))}")
    values: dict[str, Any] = {}
    for key, value in table.items():
        kind = kinds[key]
        if kind is float and type(value) is int:
            value = float(value)
        if kind == tuple[str, ...]:
            right = isinstance(value, list) and all(isinstance(item, str) for item in value)
            value = tuple(value) if right else value
        else:
            right = isinstance(value, dict) if key == "environment" else type(value) is kind
        if not right:
            raise ValueError(f"{name}: {key} must be {getattr(kind, '__name__', kind)}, got {value!r}")
        values[key] = value
    return DatasetSettings(dag_id=name, **values)


def job_name(dag_id: str, output: str) -> str:
    """Names the job of an output, the same at every attempt, as Dataflow takes names.

    >>> job_name("books", "gs://bucket/books/2026-11-29T0000-3fa9c01b77d2")
    'books-2026-11-29t0000-3fa9c01b77d2'
    """
    name = re.sub(r"[^a-z0-9-]+", "-", f"{dag_id}-{output.rstrip('/').rpartition('/')[2]}".lower()).strip("-")
    if not name[:1].isalpha():
        name = f"job-{name}"
    if len(name) > _JOB_NAME:
        name = f"{name[:40].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name


def launch_request(settings: DatasetSettings, template: str, output: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Makes the body of the request that launches a flex template.

    Args:
      settings: of the DAG.
      template: its specification in a bucket.
      output: of the job, or what it reads.
      values: parameters of the template; `job` is part of the job's name.
    """
    launch = {
        "jobName": job_name("-".join([settings.dag_id, *filter(None, [values.get("job")])]), output),
        "containerSpecGcsPath": template,
        "parameters": dict(values),
        **({"environment": dict(settings.environment)} if settings.environment else {}),
    }
    return {"launchParameter": launch}


def refusal(plan: Mapping[str, Any], least_bytes: int, most_bytes: int, most_dollars: float, mode: str) -> str | None:
    """Says why a plan is not to be carried out, by what `tokenreel plan --json` printed; None where it may be."""
    size = sum(source["bytes"] for source in plan["sources"].values())
    dollars = sum(plan["dollars"].values())
    if plan["refused"]:
        return "the build would be refused: " + "; ".join(map(str, plan["refused"]))
    if not least_bytes <= size <= most_bytes:
        return f"the sources hold {size:,} bytes, expected {least_bytes:,} to {most_bytes:,} (least_bytes, most_bytes)"
    if mode == "dataflow" and dollars > most_dollars:
        return f"Dataflow would cost {dollars:,.2f} dollars, more than {most_dollars:,.2f} (most_dollars)"
    return None


def parse_plan(text: str) -> dict[str, Any]:
    """Reads what `tokenreel plan --json` printed.

    Raises:
      ValueError: it is something else.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or not {"sources", "dollars", "refused", "config", "output"} <= found.keys():
        raise ValueError("the command printed no plan")
    return found
