"""Makes a source archive of the package as Beam makes it for `--setup_file`: `python -m tests.dataflow_templates.archive FOLDER`."""

from __future__ import annotations

import os
import sys

from apache_beam.runners.portability.stager import Stager

from tests import layering


def make(folder: str) -> str:
    """Makes the archive; returns its path."""
    os.makedirs(folder, exist_ok=True)
    return str(Stager._build_setup_package(str(layering.ROOT / "setup.py"), folder))


if __name__ == "__main__":
    print(make(os.path.abspath(sys.argv[1])))
