"""A launch on Dataflow, played through: the staged pipeline is taken out of storage and run, and gives the dataset of a local build."""

from __future__ import annotations

import json
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines import cli
from pipelines.templates import launching, parameters
from tests import buckets, cloud, verification_datasets
from tests.conftest import train_model, tree_digest
from tokenreel.assembly import examples
from tokenreel.errors import ConfigError
from tokenreel.format import naming
from tokenreel.staging import encoding
from tokenreel.storage import claims, files
from tokenreel.tasks.task import TaskRegistry

CONFIGS = pathlib.Path(__file__).parents[3] / "configs"
SMALL = ["packing.seq_len=64", "shards.examples=60", "execution.block_mb=0.02"]
MODEL = "vocabulary.path={}/some.model"
# What each preset is, beside that: the order of documents, the packing and the objective differ.
PRESETS = {
    "t5": [MODEL, "vocabulary.options.extra_ids=100"],
    "best_fit": [MODEL],
    "spanbert": [MODEL],
    "characters": ["vocabulary.kind=bytes", "vocabulary.path=null", "objective.mask_id=2"],
}
TASKS = "tests.pipelines.cached_tasks"
QUICK = ("t5", "best_fit")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The text and the vocabulary of the local builds."""
    folder = tmp_path_factory.mktemp("launching")
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:150]))
    (folder / "made").mkdir()
    model = train_model(texts[:400], folder / "made", control_symbols="<mask>")
    (folder / "some.model").write_bytes(pathlib.Path(model).read_bytes())
    return folder


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path) -> Iterator[cloud.Service]:
    """The stand-ins, and in the bucket the text, the vocabulary and the presets."""
    with cloud.dataflow(monkeypatch) as service:
        for path in (folder / "text.jsonl", folder / "some.model", *(CONFIGS / f"{name}.yaml" for name in PRESETS)):
            cloud.upload(path)
        yield service


def settings(preset: str, place: str) -> list[str]:
    return [setting.format(place) for setting in (*SMALL, *PRESETS[preset])]


def build(preset: str, folder: pathlib.Path, output: pathlib.Path) -> dict[str, str]:
    """The files of a build on this machine."""
    overrides = [word for setting in settings(preset, str(folder)) for word in ("--set", setting)]
    command = ["build", str(CONFIGS / f"{preset}.yaml"), "--input", str(folder / "text.jsonl"), "--output", str(output), *overrides]
    assert cli.main([*command, "--direct_num_workers=1"]) == 0
    return tree_digest(output)


def launch(service: cloud.Service, preset: str, *parameters: str, template: bool = True) -> int:
    return service.launch(
        f"config={cloud.ROOT}/{preset}.yaml",
        f"input={cloud.ROOT}/text.jsonl",
        f"output={cloud.ROOT}/made/{preset}",
        f"set={parameters_of(preset)}",
        *parameters,
        template=template,
    )


def parameters_of(preset: str) -> str:
    return parameters.SEPARATOR.join(settings(preset, cloud.ROOT))


def found(preset: str, folder: pathlib.Path) -> dict[str, str]:
    """The files of the dataset in the bucket."""
    copy = folder / f"copy of {preset}"
    buckets.download(f"{cloud.ROOT}/made/{preset}", copy)
    return tree_digest(copy)


def run_idle(service: cloud.Service, capsys: Capture) -> None:
    """Runs the newest job, of a launch that found everything there: without a job the launcher would count it as failed."""
    assert "note: there is nothing to do; the launcher gets a job that does nothing" in capsys.readouterr().err
    steps = {each.unique_name.partition("/")[0] for each in service.pipeline().components.transforms.values() if each.spec.urn}
    assert steps == {"NothingToDo"}
    service.execute()


@pytest.mark.parametrize("preset", [preset if preset in QUICK else pytest.param(preset, marks=pytest.mark.slow) for preset in PRESETS])
def test_the_staged_pipeline_makes_the_dataset_of_a_local_build(
    service: cloud.Service, folder: pathlib.Path, tmp_path: pathlib.Path, preset: str, capsys: Capture
) -> None:
    template = preset != "t5"  # by both ways: the launcher posts the job, or the program does
    assert launch(service, preset, "overwrite=false", "recheck=", template=template) == 0
    (job,) = service.jobs
    shown = capsys.readouterr().err
    assert f"tokenreel: job {service.identity(0)} on DataflowRunner https://console.cloud.google.com/dataflow/jobs/us-central1/" in shown
    assert service.images() == {cloud.IMAGE}, "launcher and workers are one image"
    assert job["environment"]["workerPools"][0]["packages"][0]["name"] == "submission_environment_dependencies.txt"
    assert len(job["environment"]["workerPools"][0]["packages"]) == 1, "nothing is installed when a worker starts"
    service.execute(repeat=1 if preset == "best_fit" else 0)
    assert found(preset, tmp_path) == build(preset, folder, tmp_path / "local")
    before = found(preset, tmp_path)
    assert launch(service, preset, template=False) == 0 and len(service.jobs) == 1
    assert "is complete already" in capsys.readouterr().err
    assert launch(service, preset) == 0 and len(service.jobs) == 2
    run_idle(service, capsys)
    assert found(preset, tmp_path) == before


def test_the_staged_pipeline_makes_the_caches_of_a_local_run(
    service: cloud.Service, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Two tasks of one job; the job gives the directories of both back, and leaves nothing else there."""
    rows = [{"question": f"question {n}", "answer": f"answer {n}", "id": n, "answers": ["a"] * (n % 3)} for n in range(40)]
    for name, part in (("train-0.jsonl", rows[:25]), ("train-1.jsonl", rows[25:]), ("validation.jsonl", rows[:3])):
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in part))
        cloud.upload(tmp_path / name)
    (tmp_path / "a.txt").write_text("header\none\ntwo\n")
    cloud.upload(tmp_path / "a.txt")

    def read_from(place: str) -> None:
        TaskRegistry.reset()
        monkeypatch.setenv("TOKENREEL_TEST_DATA", place)
        monkeypatch.delitem(sys.modules, TASKS, raising=False)

    read_from(str(tmp_path))
    local = ["cache-tasks", "--tasks", "qa:json", "lines", "--module_import", TASKS, "--output_cache_dir", str(tmp_path / "local")]
    assert cli.main([*local, "--min_shards=3", "--direct_num_workers=1"]) == 0
    read_from(cloud.ROOT)
    try:
        asked = (
            "job=cache-tasks",
            "tasks=qa:json;lines",
            f"module_import={TASKS}",
            f"output_cache_dir={cloud.ROOT}/caches",
            "min_shards=3",
        )
        assert service.launch(*asked, template=True, name="caches") == 0
        assert f"job {service.identity(0)} on DataflowRunner" in capsys.readouterr().err
        assert service.launch(*asked) == 1 and "another job is writing here (job" in capsys.readouterr().err
        service.execute(repeat=1)
        buckets.download(f"{cloud.ROOT}/caches", tmp_path / "copy")
        assert tree_digest(tmp_path / "copy") == tree_digest(tmp_path / "local")
        assert service.launch(*asked) == 0 and len(service.jobs) == 1
        assert capsys.readouterr().err.count("is complete already") == 2
        assert service.launch(*asked, template=True, name="caches") == 0 and len(service.jobs) == 2
        run_idle(service, capsys)
        buckets.download(f"{cloud.ROOT}/caches", tmp_path / "again")
        assert tree_digest(tmp_path / "again") == tree_digest(tmp_path / "local")
        for wrong, message in [
            ("update=true", "--update: a job that runs cannot be replaced by another one"),
            ("module_import=no_such_tasks", "--module_import no_such_tasks: cannot be imported"),
        ]:
            assert service.launch(*asked, wrong) == 2
            shown = capsys.readouterr().err
            assert message in shown and "Traceback" not in shown
        read_from(str(tmp_path))
        assert service.launch(*asked[:-2], f"output_cache_dir={cloud.ROOT}/other") == 2
        assert f"task 'lines', split 'train': {tmp_path}/a.txt lies on this machine" in capsys.readouterr().err
    finally:
        TaskRegistry.reset()


def test_the_staged_check_fails_over_a_difference(service: cloud.Service, tmp_path: pathlib.Path, capsys: Capture) -> None:
    """Nobody reads what it prints, so the job fails, and names the report; nothing is left of one that finds nothing."""
    verification_datasets.make(tmp_path / "made", documents={"train": 12}, examples_per_shard=20)
    for name in files.list_files(str(tmp_path / "made")):
        files.write_bytes(f"{cloud.ROOT}/made/{name}", (tmp_path / "made" / name).read_bytes())
    before = files.list_files(f"{cloud.ROOT}/made")
    asked = ("job=verify", f"directory={cloud.ROOT}/made")
    assert service.launch(*asked, template=True, name="check") == 0
    assert f"job {service.identity(0)} on DataflowRunner" in capsys.readouterr().err
    service.execute(repeat=1)
    shard = min(f"{cloud.ROOT}/made/{name}" for name in before if naming.is_shard(name))
    whole = files.read_bytes(shard)
    files.write_bytes(shard, whole[:-1] + bytes([whole[-1] ^ 1]))
    assert service.launch(*asked) == 0
    capsys.readouterr()
    with pytest.raises(Exception, match=r"gs://bucket/made: [0-9]+ differences?, all of which ") as raised:
        service.execute()
    assert cli.main(["verify", f"{cloud.ROOT}/made", "--quiet"]) == 1
    lines = capsys.readouterr().out.splitlines()
    (report,) = set(re.findall(r"all of which (\S+) lists", str(raised.value)))
    assert [json.loads(line)["line"] for line in files.read_bytes(report).splitlines()] == lines and lines[0] in str(raised.value)
    folders = {name.partition("/")[0] for name in files.list_files(cloud.TEMPORARY) if name.startswith("tokenreel-verify-")}
    assert folders == {report.split("/")[-2]}, "of the sound check nothing is left"
    assert files.list_files(f"{cloud.ROOT}/made") == before
    files.remove(f"{cloud.ROOT}/made/statistics.json")
    assert service.launch(*asked) == 1 and len(service.jobs) == 2
    shown = capsys.readouterr()
    assert "statistics.json" in shown.out and "no job was started" in shown.err


@pytest.mark.slow
def test_a_job_that_was_cancelled_is_submitted_again(
    service: cloud.Service, folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert launch(service, "characters") == 0
    assemble, encode, counts = examples.assemble, encoding.encode_part, {"shards": 0, "blocks": 0}

    def assembling(*arguments: Any) -> Any:
        counts["shards"] += 1
        if counts["shards"] == 3:
            raise RuntimeError("cancelled")
        return assemble(*arguments)

    def encoding_part(*arguments: Any) -> Any:
        counts["blocks"] += 1
        return encode(*arguments)

    monkeypatch.setattr(examples, "assemble", assembling)
    monkeypatch.setattr(encoding, "encode_part", encoding_part)
    with pytest.raises(Exception, match="cancelled"):
        service.execute()
    blocks = counts["blocks"]
    assert blocks > 1 and files.size(f"{cloud.ROOT}/made/characters/manifest.json") is None
    assert launch(service, "characters") == 1, "nobody told the lock that the job is gone"
    shown = capsys.readouterr().err
    assert f"another job is writing here (job {service.identity(0)} on DataflowRunner" in shown and "If it was cancelled" in shown
    files.remove(f"{cloud.ROOT}/made/characters/{claims.RECORD}")  # as the message says
    assert launch(service, "characters") == 0 and len(service.jobs) == 2
    service.execute()
    assert counts["blocks"] == blocks, "what was tokenized is kept"
    assert found("characters", tmp_path) == build("characters", folder, tmp_path / "local")


@pytest.mark.slow
def test_an_error_that_four_attempts_repeat_leaves_nothing_that_counts(
    service: cloud.Service, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The text changes between the launch and the first worker: the service tries a step four times, then the job fails."""
    assert launch(service, "characters") == 0
    text = files.read_bytes(f"{cloud.ROOT}/text.jsonl")
    files.write_bytes(f"{cloud.ROOT}/text.jsonl", text + b'{"text": "one more"}\n')
    messages = set()
    for _ in range(4):
        with pytest.raises(Exception) as raised:
            service.execute()
        messages.add(str(raised.value).partition(" [while running")[0][-300:])
    assert len(messages) == 1 and "Run the same command again when nothing writes there" in messages.pop()
    left = {name for name in files.list_files(f"{cloud.ROOT}/made/characters") if not name.startswith(".stage/")}
    assert left <= {claims.RECORD}, "no text was tokenized, and no shard is there"
    files.write_bytes(f"{cloud.ROOT}/text.jsonl", text)
    files.remove(f"{cloud.ROOT}/made/characters/{claims.RECORD}")
    assert launch(service, "characters") == 0
    service.execute()
    assert found("characters", tmp_path) == build("characters", folder, tmp_path / "local")


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("set=sources.0.text_field=body", "body"),
        ("config=gs://bucket/missing.yaml", "missing.yaml: cannot read the config"),
        ("set=packing.seq_lenght=9", "seq_lenght"),
        ("input=gs://bucket/none/*.jsonl", "none/*.jsonl"),
        ("update=true", "--update: a job that runs cannot be replaced by another one. Cancel it, and run the same command again"),
        ("outptu=gs://bucket/other", "outptu=gs://bucket/other: there is no such parameter; did you mean output?"),
    ],
)
def test_what_is_refused_is_refused_by_the_launcher(service: cloud.Service, parameter: str, message: str, capsys: Capture) -> None:
    """Nothing is written, and no worker is paid for."""
    before = files.list_files(cloud.ROOT)
    if parameter.startswith("set="):  # beside the preset's own
        parameter = f"set={parameters_of('characters')}{parameters.SEPARATOR}{parameter.removeprefix('set=')}"
    assert launch(service, "characters", parameter) == 2
    assert service.jobs == [] and files.list_files(cloud.ROOT) == before
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown


def test_the_command_of_parameters() -> None:
    command = launching.command(
        [
            "--config=gs://b/c.yaml",
            "--input=gs://b/x;gs://b/y",
            "--set=seed=1;splits={validation: 1%}",
            "--overwrite=true",
            "--recheck=false",
            "--output=",
            "--use_public_ips=false",
            "--streaming=false",
            "--region=us-east1",
        ],
        {launching.IMAGE: "image:1"},
    )
    assert command == [
        *("build", "gs://b/c.yaml", "--set=seed=1", "--set=splits={validation: 1%}", "--input", "gs://b/x", "gs://b/y"),
        *("--overwrite", "--sdk_container_image=image:1"),
        *("--no-wait", "--runner=DataflowRunner", "--no_use_public_ips", "--region=us-east1"),
    ]
    tasks = ["--job=cache-tasks", "--tasks=qa:.*;lines", "--module_import=a;b.c", "--output_cache_dir=gs://b/caches", "--min_shards=3"]
    assert launching.command(tasks, {}) == [
        *("cache-tasks", "--tasks", "qa:.*", "lines", "--module_import", "a", "b.c", "--output_cache_dir=gs://b/caches", "--min_shards=3"),
        *("--no-wait", "--runner=DataflowRunner"),
    ]
    looked = launching.command(["--job=extract-features", "--dataset=gs://b/books", "--set=logits.top_k=4", "--output=gs://b/f"], {})
    assert looked == [
        *("extract-features", "--set=logits.top_k=4", "--dataset=gs://b/books", "--output=gs://b/f"),
        *("--no-wait", "--runner=DataflowRunner"),
    ]
    checked = launching.command(["--job=verify", "--directory=gs://b/books"], {})
    assert checked == ["verify", "gs://b/books", "--no-wait", "--runner=DataflowRunner"]
    other = launching.command(["--job=train-tokenizer", "--config=gs://b/c.yaml", "--sdk_container_image=other"], {launching.IMAGE: "one"})
    assert other == ["train-tokenizer", "gs://b/c.yaml", "--sdk_container_image=other", "--no-wait", "--runner=DataflowRunner"]


def test_options_that_only_the_launcher_knows_are_left_out(capsys: Capture) -> None:
    """A launcher of tomorrow may pass more than this Beam reads: the job starts, and says so."""
    assert "--frobnicate" not in " ".join(launching.command(["--config=gs://b/c", "--frobnicate=9"], {}))
    assert "neither the job nor Beam knows the parameter frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the parameter config is missing: YAML file with the settings of the build."),
        (["gs://b/c.yaml"], "'gs://b/c.yaml': a template's parameters have names and values"),
        (["--config=c.yaml"], "config=c.yaml: must be a gs:// path"),
        (["--config=gs://b/c", "--overwrite=maybe"], "overwrite=maybe: must be true or false"),
        (["--config=gs://b/c", "--set=seed=1;7"], "set=seed=1;7: must be name=value, not '7'"),
        (["--job=cache-tasks", "--tasks=a"], "the parameter output_cache_dir is missing: Directory below which each cache gets its own."),
        (["--job=bake", "--config=gs://b/c"], "job=bake: there is no such job, only build, train-tokenizer"),
    ],
)
def test_mistakes_in_parameters(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        launching.command(arguments, {})
    assert message in str(raised.value)
