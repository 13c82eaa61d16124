"""How a pipeline runs on this machine, in words."""

import copy
import os
import pickle

import pytest
from apache_beam.options.pipeline_options import DebugOptions, DirectOptions, GoogleCloudOptions, PipelineOptions

from pipelines import local
from tokenreel.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "releases_gil", "expected"),
    [
        (["--direct_num_workers=1"], True, "in this process"),
        (["--direct_num_workers=2"], True, "in 2 threads"),
        (["--direct_num_workers=2"], False, "in 2 processes"),
        (["--runner=DirectRunner", "--direct_num_workers=3", "--direct_running_mode=multi_processing"], True, "in 3 processes"),
        (["--runner=PortableRunner"], True, "on PortableRunner"),
    ],
)
def test_what_a_build_runs_on_is_said(arguments: list[str], releases_gil: bool, expected: str) -> None:
    assert local.describe(local.options(arguments, releases_gil=releases_gil)) == expected


@pytest.mark.parametrize(
    ("arguments", "releases_gil", "files", "size", "expected"),
    [
        ([], True, 2, 1000, "in this process"),
        ([], True, 2, 1 << 20, "in 4 threads"),
        ([], True, 200, 1000, "in 4 threads"),
        ([], False, 2, 1000, "in 4 processes"),  # a process may die of what it reads without the job
        (["--direct_num_workers=2"], True, 2, 1000, "in 2 threads"),
        (["--direct_running_mode=multi_threading"], True, 2, 1000, "in 4 threads"),
        (["--runner=PortableRunner"], True, 2, 1000, "on PortableRunner"),
    ],
)
def test_one_worker_reads_an_input_of_a_few_bytes(
    arguments: list[str], releases_gil: bool, files: int, size: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    parsed = local.options(arguments, releases_gil=releases_gil)
    local.suit_size(arguments, parsed, files, size)
    assert local.describe(parsed) == expected


def test_views_of_options_are_made_once_and_are_those_of_beam() -> None:
    given = ["--direct_num_workers=3", "--experiments=a"]
    parsed, beams = local.options(given, releases_gil=True), PipelineOptions([*given, "--runner=FnApiRunner"], save_main_session=False)
    beams.view_as(DirectOptions).direct_running_mode = "multi_threading"
    assert parsed.get_all_options() == beams.get_all_options()
    assert parsed.view_as(DebugOptions) is parsed.view_as(DebugOptions) and parsed.view_as(DebugOptions).experiments == ["a"]
    copied = copy.deepcopy(parsed)  # as a pipeline makes one: changes to one are not seen in the other
    copied.view_as(DebugOptions).experiments.append("b")
    copied.view_as(DirectOptions).direct_num_workers = 5
    assert parsed.view_as(DebugOptions).experiments == ["a"] and parsed.view_as(DirectOptions).direct_num_workers == 3
    assert copied.view_as(DirectOptions).direct_num_workers == 5


def test_no_secret_of_the_options_travels() -> None:
    parsed = local.options(["--impersonate_service_account=somebody"], releases_gil=True)
    assert parsed.view_as(GoogleCloudOptions).impersonate_service_account == "somebody"
    assert b"somebody" not in pickle.dumps(parsed.__getstate__()["_all_options"]) and "_views" not in parsed.__getstate__()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--direct_num_workers=2"], "in 2 threads"),
        (["--direct_num_workers=1"], None),
        (["--direct_num_workers=2", "--direct_running_mode=multi_processing"], None),
        (["--runner=PortableRunner"], None),
    ],
)
def test_threads_take_the_place_of_processes_that_nobody_asked_for(arguments: list[str], expected: str | None) -> None:
    threaded = local.with_threads(arguments, local.options(arguments, releases_gil=False))
    assert (None if threaded is None else local.describe(threaded)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ouput", "elsewhere"], "unknown option --ouput: did you mean --output?"),
        (["--direct_num_workrs=1"], "unknown option --direct_num_workrs: did you mean --direct_num_workers?"),
        (["--qqqqq"], "unknown option --qqqqq: --help lists those of this command"),
        (["other.yaml"], "one argument too many: 'other.yaml'"),
        (["--direct_num_workers=1", "other.yaml"], "one argument too many: 'other.yaml'"),
    ],
)
def test_slips_of_the_pen_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        local.options(arguments, releases_gil=True)
    assert message in str(error.value)


def test_options_of_beam_are_taken_however_they_are_written() -> None:
    given = ["--runner", "DirectRunner", "--direct_runner_bundle_repeat", "2", "--experiments=a", "--experiments", "b", "--streaming"]
    assert local.describe(local.options([*given, "--direct_num_workers=1"], releases_gil=True)) == "in this process"
    with pytest.raises(ConfigError, match="unknown option --of_the_job_service"):  # and no job service knows it
        local.options(["--runner=PortableRunner", "--of_the_job_service=1"], releases_gil=True)
