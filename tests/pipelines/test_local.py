"""How a pipeline runs on this machine, in words."""

import pytest

from pipelines import local


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
