"""What runners elsewhere ask of a job is said in a line, before anything is written."""

from __future__ import annotations

import os
import pathlib

import pytest

from pipelines import cli, local
from tokenreel.config import reading
from tokenreel.config.build import JobConfig

CLOUD = ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://bucket/temporary"]
PORTABLE = ["--runner=PortableRunner", "--job_endpoint=localhost:1"]

POOL = ["--environment_type=EXTERNAL", "--environment_config=localhost:1"]


@pytest.fixture
def config(tmp_path: pathlib.Path) -> str:
    (tmp_path / "text.jsonl").write_text('{"text": "It reads well."}\n')
    path = tmp_path / "config.yaml"
    path.write_text("{output: dataset, sources: [{files: [text.jsonl]}], vocabulary: {kind: bytes}, packing: {seq_len: 4}}")
    return str(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CLOUD, "output: {folder}/dataset lies on this machine, whose disk the workers of DataflowRunner do not share. Give gs:// paths."),
        ([*CLOUD, "--output=gs://bucket/d"], "execution.stage: {folder}/tokens lies on this machine"),
        ([*CLOUD, "--output=gs://bucket/d", "--set=execution.stage=null"], "sources.0.files: {folder}/text.jsonl lies on this machine"),
        (PORTABLE, "output: {folder}/dataset lies on this machine, whose disk the workers of PortableRunner do not share"),
        ([*PORTABLE, "--environment_type=DOCKER"], "Workers run here on FnApiRunner (the default), PrismRunner, and with"),
        ([*PORTABLE, "--environment_type=EXTERNAL"], "Option external_service_address is required for environment type EXTERNAL. Give"),
        (
            [*PORTABLE, *POOL],
            "--job_endpoint=localhost:1: no job service answers there",
        ),
        ([*PORTABLE, "--environment_type=LOOPBACK", "--no-wait"], "--no-wait: the workers of this job run in this command and would end"),
        (["--runner=PortableRunner", "--job_endpoint=embed", "--no-wait"], "--no-wait: the workers of this job run in this command"),
        (["--runner=DataflowRunner", "--project=p"], "--runner=DataflowRunner also needs --region and --temp_location: --project=PROJECT"),
        ([*CLOUD, "--setup_file=./nowhere/setup.py"], "--setup_file=./nowhere/setup.py: no such file"),
        ([*CLOUD, "--number_of_workers=3"], "unknown option --number_of_workers: did you mean --num_workers?"),
        ([*PORTABLE, "--enviroment_type=LOOPBACK"], "unknown option --enviroment_type: did you mean --environment_type?"),
        ([*CLOUD, "--output=gs://bucket/d", "--update"], "--update: a job that runs cannot be replaced by another one. Cancel it, and run"),
        (["--runner=FlinkRunner", "--flink_mastre=[local]"], "unknown option --flink_mastre: did you mean --flink_master?"),
    ],
)
def test_what_cannot_work_is_one_line(
    config: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["build", config, f"--set=execution.stage={tmp_path}/tokens", *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert message.format(folder=tmp_path) in line
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_paths_mean_the_same_wherever_workers_are(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pathlib.Path(config).parent
    monkeypatch.chdir(folder)
    job = reading.read(
        JobConfig, "config.yaml", ["execution.stage=tokens"], input=["text.jsonl", "@list", "gs://b/*"], output="d/../dataset"
    )
    assert not os.path.isabs(job.output)
    moved = local.absolute(job, local.options(["--runner=PortableRunner", *POOL], releases_gil=True))
    assert (moved.output, moved.execution.stage) == (f"{folder}/dataset", f"{folder}/tokens")
    assert moved.sources[0].files == (f"{folder}/text.jsonl", f"@{folder}/list", "gs://b/*")
    assert local.absolute(job, local.options([], releases_gil=True)) == job
