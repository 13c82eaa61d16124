"""Starts the commands with the packages beside this file.

The scripts that pip installs import this module, because nobody else has one of its name: `pipelines` or `tokenreel` may well be a user's
own, which PYTHONPATH puts before what is installed. Each of the two wheels has it at its top. It lies in both folders that wheels are made
from, and tests/test_foreign_packages.py holds the two copies equal.

Tested in tests/test_foreign_packages.py.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from importlib.machinery import PathFinder


def _run(module: str, *arguments: str) -> int:
    """Calls `main` of a module of ours; returns its exit code."""
    package = module.partition(".")[0]
    spec = PathFinder.find_spec(package, [os.path.dirname(os.path.abspath(__file__))])
    imported = getattr(sys.modules.get(package), "__spec__", None)
    if spec is not None and spec.loader is not None and (imported is None or imported.origin != spec.origin):
        # Ours is not imported. The trainer's folder, installed in place, has none beside this file: it is itself the package.
        sys.modules[package] = found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    return int(importlib.import_module(module).main(*arguments))


# What setup.py and tokenreel/pyproject.toml name.
main = functools.partial(_run, "pipelines.cli")
inspect, report, shelf, verify, when, where = (
    functools.partial(_run, "tokenreel.commands", name) for name in ("inspect", "report", "shelf", "verify", "when", "where")
)
