"""Prism, Beam's engine for one machine: a program in Go that `--runner=PrismRunner` starts, if it is found.

tests/pipelines/test_engines.py builds with the program itself.
"""

import os
import shutil
import sys

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, PrismRunnerOptions, StandardOptions
from apache_beam.version import __version__ as beam_version

from tokenreel.errors import ConfigError

RUNNER = "PrismRunner"
# Who tells of the engine and of what it says itself; Beam shows all of it as warnings.
LOGGERS = ("apache_beam.utils.subprocess_server", RUNNER, "SdkWorker@")
_MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism"


def set_up(parsed: PipelineOptions) -> None:
    """Completes the options of a job for Prism: names the program, and has the workers run in this process.

    Raises:
      ConfigError: the program is not there. Beam would try to download one.
    """
    options, portable = parsed.view_as(PrismRunnerOptions), parsed.view_as(PortableOptions)
    if parsed.view_as(StandardOptions).runner != RUNNER or portable.job_endpoint:  # a Prism that runs already
        return
    portable.environment_type = portable.environment_type or "LOOPBACK"
    named = options.prism_location
    if named and ("://" in named or os.path.isfile(named)):  # Beam fetches addresses and unpacks archives
        return
    found = None if named else find()
    if found is None:
        what = f"--prism_location={named}: no such file" if named else f"--runner={RUNNER} needs the program prism, which is not installed"
        raise ConfigError(
            f"{what}. `go install {_MODULE}@v{beam_version}` (three minutes) puts it where it is found; --prism_location=PATH names "
            "another place."
        )
    options.prism_location = found


def find() -> str | None:
    """Looks for the program: on the path, beside this Python, and where Go installs programs."""
    folders = [os.path.dirname(sys.executable), os.environ.get("GOBIN", "")]
    folders += [os.path.join(folder, "bin") for folder in os.environ.get("GOPATH", "").split(os.pathsep) if folder]
    folders.append(os.path.expanduser("~/go/bin"))
    return shutil.which("prism") or shutil.which("prism", path=os.pathsep.join(filter(None, folders)))
