"""Has this process import our packages from the folder beside this one, whatever else of their names lies on the path.

A project often has folders called `transforms` and `pipelines` of its own, and both `python -m` and PYTHONPATH put them before what is
installed. `python own_packages.py MODULE` runs a module as `python -m MODULE` does, but one of ours: so worker processes start. This file
imports nothing but the standard library.

Tested in tests/test_foreign_packages.py.
"""

import importlib.abc
import importlib.machinery
import os
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType

NAMES = ("tokenreel", "transforms", "pipelines")
FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class _Beside(importlib.abc.MetaPathFinder):
    """Finds our packages in `FOLDER`, before the path is asked."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.PathFinder.find_spec(fullname, [FOLDER]) if fullname in NAMES else None


def prefer() -> None:
    """Lets imports find our packages from now on.

    Raises:
      ImportError: another package of such a name is imported already; says which.
    """
    for name in NAMES:
        module = sys.modules.get(name)
        places = [
            os.path.dirname(os.path.abspath(place)) for place in getattr(module, "__path__", [getattr(module, "__file__", None) or "-"])
        ]
        if module is not None and FOLDER not in places:
            raise ImportError(
                f"{name} is imported from {places[0]} already, and tokenreel needs its own package of that name, in {FOLDER}. Start the "
                "command `tokenreel` in a process of its own, or give the other another name."
            )
    if not any(type(finder).__name__ == _Beside.__name__ for finder in sys.meta_path):  # a program and a module are two copies of this file
        sys.meta_path.insert(0, _Beside())


if __name__ == "__main__":
    del sys.argv[0]
    prefer()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
