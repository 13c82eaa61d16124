"""Scheduled datasets: plan, build, verify, publish, clean up. A DAG for each table of `datasets.toml`; see docs/scheduling.md.

What a task does is the command `tokenreel`, which need not be installed where Airflow is; this file imports Airflow and nothing of the
project.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # a bundle of DAGs is not always on the path

import dataset_settings
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.providers.google.cloud.triggers.dataflow import TemplateJobStartTrigger
from airflow.sdk import DAG, BaseOperator, Param, Variable, chain
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from dataset_settings import DatasetSettings

_MISTAKE = 2  # exit code of a mistake in the settings or the input: trying again does not help
_GRACE_SECONDS = 60.0  # that a command gets to end after SIGTERM
_LONGEST = 2_000  # characters of a message to a webhook
_log = logging.getLogger(__name__)

Arguments = Callable[[Mapping[str, Any], Mapping[str, Any]], Sequence[str]]
Launch = Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[str, Mapping[str, str]] | None]


class RunTokenreel(BaseOperator):
    """Runs a command of tokenreel on the worker; what it says is in the log of the task. A task that is killed ends it first.

    Args:
      settings: of the DAG.
      commands: each makes its arguments of the parameters of the run and of what the task `plan` gave.
    """

    def __init__(self, *, settings: DatasetSettings, commands: Sequence[Arguments], **options: Any) -> None:
        super().__init__(**options)
        self.settings, self.commands = settings, list(commands)
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> Any:
        """Runs the commands in turn.

        Raises:
          AirflowFailException: the command says that something is wrong with what it was given.
          AirflowException: it failed otherwise, and may be tried again.
        """
        plan = context["ti"].xcom_pull(task_ids="plan") or {}
        for command in self.commands:
            self.run_command(command(context["params"], plan))
        return None

    def run_command(self, arguments: Sequence[str], *, allowed: Sequence[int] = (0,)) -> str:
        """Runs one command and gives what it wrote to standard output."""
        command = [*self.settings.command, *arguments]
        self.log.info("running %s", command)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=None, text=True, start_new_session=True) as self._process:
            try:
                written = []
                assert self._process.stdout is not None
                for line in self._process.stdout:
                    self.log.info("%s", line.rstrip())
                    written.append(line)
                code = self._process.wait()
            except BaseException:
                self.on_kill()
                raise
        if code == _MISTAKE and code not in allowed:
            raise AirflowFailException(f"{command[-len(arguments) :]} found a mistake in what it was given; its log says which")
        if code not in allowed:
            raise AirflowException(f"{command[-len(arguments) :]} ended with exit code {code}; its log says why")
        return "".join(written)

    def on_kill(self) -> None:
        """Ends the command: a build keeps what it has finished."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
                return


class PlanDataset(RunTokenreel):
    """Lists the files of a date once, says what their build takes, and refuses what is absurd."""

    def execute(self, context: Any) -> dict[str, Any]:
        """Gives the `config` to build and its `output`, and says whether that is `complete`.

        Raises:
          AirflowFailException: the plan is refused.
        """
        params, settings = context["params"], self.settings
        date = (context.get("logical_date") or context["dag_run"].run_after).isoformat()
        arguments = ["plan", params["config"], "--json", "--freeze", settings.root, "--date", date, *_overrides(params)]
        plan = dataset_settings.parse_plan(self.run_command(arguments, allowed=(0, 1)))
        limits = {name: params[name] for name in ("least_bytes", "most_bytes", "most_dollars")}
        if refused := dataset_settings.refusal(plan, **limits, mode=settings.mode):
            raise AirflowFailException(refused)
        complete = settings.mode == "dataflow" and self.is_complete(plan["output"])
        return {"config": plan["config"], "output": plan["output"], "date": date, "complete": complete}

    def is_complete(self, output: str) -> bool:
        """Says whether a dataset is there: a launch that finds nothing to do still takes a worker some minutes."""
        told = self.run_command(["status", output, "--json"], allowed=(0, 1, _MISTAKE))
        return bool(told.strip()) and json.loads(told)["state"] == "complete"


class RunTemplate(DataflowStartFlexTemplateOperator):
    """Starts a flex template, or follows the job of that name which an earlier attempt started. The worker is free meanwhile.

    Args:
      settings: of the DAG.
      template: its specification in a bucket.
      make: makes output and parameters of the template from the parameters of the run and the plan; None where there is nothing to do.
    """

    template_fields = ()

    def __init__(
        self,
        *,
        settings: DatasetSettings,
        template: str,
        make: Launch,
        **options: Any,
    ) -> None:
        super().__init__(
            body={},
            location=settings.region,
            project_id=settings.project,
            gcp_conn_id=settings.gcp_conn_id,
            deferrable=True,
            cancel_on_kill=True,
            append_job_name=False,
            **options,
        )
        self.settings, self.template, self.make = settings, template, make

    def execute(self, context: Any) -> Any:
        """Defers until the job is done."""
        made = self.make(context["params"], context["ti"].xcom_pull(task_ids="plan") or {})
        if made is None:
            self.log.info("there is nothing to do")
            return None
        self.body = dataset_settings.launch_request(self.settings, self.template, *made)
        name = self.body["launchParameter"]["jobName"]
        identity = self.find_active(name)
        if identity is None:
            return super().execute(context)
        self.log.info("the job %s is running as %s: this attempt follows it", name, identity)
        self.defer(
            trigger=TemplateJobStartTrigger(
                project_id=self.project_id,
                job_id=identity,
                location=self.location,
                gcp_conn_id=self.gcp_conn_id,
                poll_sleep=self.poll_sleep,
                cancel_timeout=self.cancel_timeout,
                cancel_on_kill=True,
            ),
            method_name="execute_complete",
        )

    def find_active(self, name: str) -> str | None:
        """Finds the id of the job of a name that is not done; None where there is none."""
        jobs = self.hook.get_conn().projects().locations().jobs()
        request = jobs.list(projectId=self.project_id, location=self.location, filter="ACTIVE", name=name)
        while request is not None:
            answer = request.execute(num_retries=self.hook.num_retries)
            for job in answer.get("jobs", ()):
                if job["name"] == name:
                    return str(job["id"])
            request = jobs.list_next(request, answer)
        return None


def _overrides(params: Mapping[str, Any]) -> list[str]:
    return [argument for override in params["overrides"] for argument in ("--set", override)]


def notify(settings: DatasetSettings) -> Callable[[Any], None]:
    """Makes what is called when a task has failed for good: it tells the log and, where there is one, a webhook."""

    def tell(context: Any) -> None:
        ti = context["ti"]
        text = f"{settings.dag_id}: {ti.task_id} of {context['run_id']} failed: {context.get('exception')}"[:_LONGEST]
        _log.error("%s", text)
        if settings.notify:
            request = urllib.request.Request(
                Variable.get(settings.notify), json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()

    return tell


def make_dag(settings: DatasetSettings) -> DAG:
    """Makes the DAG of one table."""
    params = {name: Param(value, **schema) for name, (value, schema) in dataset_settings.parameters(settings).items()}
    with DAG(
        dag_id=settings.dag_id,
        schedule=settings.schedule or None,
        start_date=datetime.datetime.combine(settings.start, datetime.time(), datetime.UTC),
        catchup=settings.catchup,
        max_active_runs=1,
        params=params,
        default_args={
            "retries": settings.retries,
            "retry_delay": datetime.timedelta(seconds=settings.retry_seconds),
            "on_failure_callback": notify(settings),
        },
        tags=["tokenreel"],
        doc_md=__doc__,
    ) as made:
        (_add_build if settings.kind == "build" else _add_caching)(settings)
    return made


def _add_build(settings: DatasetSettings) -> None:
    def task(name: str, *commands: Arguments) -> RunTokenreel:
        return RunTokenreel(task_id=name, settings=settings, commands=commands)

    def build_template(params: Mapping[str, Any], plan: Mapping[str, Any]) -> tuple[str, Mapping[str, str]] | None:
        return None if plan["complete"] else (plan["output"], {"config": plan["config"]})

    def verify_template(params: Mapping[str, Any], plan: Mapping[str, Any]) -> tuple[str, Mapping[str, str]] | None:
        if params["verify"] == "quick":
            return None
        if not settings.verify_template:
            raise AirflowFailException("verify_template is missing, which a full check on Dataflow needs")
        return plan["output"], {"job": "verify", "directory": plan["output"]}

    def verify(params: Mapping[str, Any], plan: Mapping[str, Any]) -> Sequence[str]:
        here = settings.mode == "local" and params["verify"] == "full"
        return ["verify", plan["output"], *([] if here else ["--quick"])]

    # Beside names, sizes and checksums, the first examples are decoded: that text comes out of them is more than that bytes are there.
    checks: list[Arguments] = [verify, lambda params, plan: ["inspect", plan["output"], "--count", "4", "--color", "never"]]
    tasks: list[BaseOperator] = [PlanDataset(task_id="plan", settings=settings, commands=[])]
    if settings.mode == "local":
        tasks += [task("build", lambda params, plan: ["build", plan["config"]]), task("verify", *checks)]
    else:
        tasks += [
            RunTemplate(task_id="build", settings=settings, template=settings.template, make=build_template),
            task("verify", *checks),
            RunTemplate(task_id="verify_fully", settings=settings, template=settings.verify_template, make=verify_template),
        ]
    tasks.append(task("publish", lambda params, plan: ["publish", plan["output"], settings.latest, "--date", plan["date"]]))
    clean = ["clean", settings.root, "--pointer", settings.latest]
    tasks.append(task("clean_up", lambda params, plan: [*clean, "--keep", str(params["keep"])]))
    chain(*tasks)


def _add_caching(settings: DatasetSettings) -> None:
    """Adds the one task of caches: what is cached already is found by its fingerprint, so no date and no pointer are needed."""

    def arguments(params: Mapping[str, Any], plan: Mapping[str, Any]) -> Sequence[str]:
        modules = [argument for module in params["module_import"] for argument in ("--module_import", module)]
        return ["cache-tasks", "--tasks", *params["tasks"], *modules, "--output_cache_dir", settings.root]

    def template(params: Mapping[str, Any], plan: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
        lists = {name: ";".join(params[name]) for name in ("tasks", "module_import")}
        values = {"job": "cache-tasks", **lists, "output_cache_dir": settings.root}
        return settings.root, {name: value for name, value in values.items() if value}

    if settings.mode == "local":
        RunTokenreel(task_id="cache_tasks", settings=settings, commands=[arguments])
    else:
        RunTemplate(task_id="cache_tasks", settings=settings, template=settings.template, make=template)


for _settings in dataset_settings.read():
    globals()[_settings.dag_id] = make_dag(_settings)
