"""The modules that register users' tasks, imported for a command that is given their names.

Tested in tests/pipelines/test_cache_tasks.py and tests/tokenreel/commands/test_caches.py.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from tokenreel.errors import ConfigError


def import_modules(names: Sequence[str], setting: str = "--module_import") -> None:
    """Imports modules, also from the working directory.

    Args:
      names: of the modules.
      setting: that names them, for errors.

    Raises:
      ConfigError: one cannot be imported.
    """
    if os.getcwd() not in sys.path:  # where users keep the modules of their tasks
        sys.path.append(os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{setting} {name}: cannot be imported ({what}). Give a module that Python finds from here.") from error
