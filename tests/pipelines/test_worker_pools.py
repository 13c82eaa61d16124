"""Workers as a cluster has them: pools that were started beforehand, from an installed copy, in other working directories."""

from __future__ import annotations

import os
import pathlib
import sys
import zipfile
from collections.abc import Iterator

import pytest

from tests.pipelines.test_determinism import LAYOUTS, WriteConfig, build, job_service, selection, serving
from tests.test_builds import job_wheel

__all__ = ["job_wheel"]  # a fixture
pytestmark = pytest.mark.slow


@pytest.fixture
def pool(job_wheel: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[str]:
    """A pool of workers that imports what the source archive installs, in an empty directory; its address."""
    with zipfile.ZipFile(job_wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    search = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # where the pool finds the `python` of its workers
    # What is imported is compiled there, which tells where from: a changed source would be refused.
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    environment = {**kept, "PYTHONPATH": str(tmp_path / "site"), "PATH": search}
    program = ("-P", "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port={port}")
    with (
        (tmp_path / "pool.log").open("wb") as log,
        serving(*program, cwd=tmp_path / "elsewhere", env=environment, stdout=log, stderr=log) as address,
    ):
        yield address


@pytest.mark.parametrize("layout", ["wrap_shuffled", "best_fit", "duplicates"])
def test_a_pool_of_another_installation_changes_nothing(
    write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path, pool: str, layout: str
) -> None:
    config = write_config(**(selection(corpus, "documents") if layout == "duplicates" else LAYOUTS[layout]))
    expected = build(config, tmp_path / "reference")
    with job_service() as endpoint:
        options = [f"--job_endpoint={endpoint}", "--environment_type=EXTERNAL", f"--environment_config={pool}"]
        found = build(config, tmp_path / "pool", "--runner=PortableRunner", *options, "--set", "execution.block_mb=0.05")
    assert found == expected
    assert not list((tmp_path / "elsewhere").iterdir())
    assert list((tmp_path / "site/transforms/__pycache__").glob("build_shards.*.pyc"))
