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
    with (tmp_path / "site/transforms/__init__.py").open("a") as module:
        module.write('\n\nimport pathlib\npathlib.Path(__file__).with_name("imported").touch()\n')
    (tmp_path / "elsewhere").mkdir()
    search = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])  # where the pool finds the `python` of its workers
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PATH": search}
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
    assert (tmp_path / "site/transforms/imported").exists()
