"""What is kept on disk of the compiled loops, and when it is compiled again."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from tokenreel.vocabularies.unit_memo import kernels

CALLEE = "from numba import njit\n\nSTEP = 1\n\n@njit(nogil=True)\ndef step(value):\n    return value + STEP\n"
CALLER = """
from numba import types
from loops.callee import step
from loops.compiling import kernel

@kernel((types.int64,))
def twice(value):
    return step(step(value))
"""


@pytest.fixture
def package(tmp_path):
    """A package that compiles as ours does, with a kernel that calls a function of another file."""
    path = tmp_path / "loops"
    path.mkdir()
    for name in ("__init__.py", "compiling.py"):
        shutil.copy(pathlib.Path(kernels.__file__).parent / name, path / name)
    (path / "callee.py").write_text(CALLEE)
    (path / "caller.py").write_text(CALLER)
    return path


def run(package):
    """What `twice(5)` is in a process of its own, how often it was compiled there, and its name."""
    program = "from loops.caller import twice; print(twice(5), sum(twice.stats.cache_misses.values()), twice.py_func.__qualname__)"
    result = subprocess.run([sys.executable, "-c", program], cwd=package.parent, capture_output=True, text=True, check=True)
    value, compiled, name = result.stdout.split()
    return int(value), int(compiled), name


def test_the_machine_code_of_a_caller_is_dropped_when_a_function_of_another_file_changes(package, monkeypatch):
    """Numba looks at the file of the caller alone."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert run(package) == (7, 1, "twice")
    assert run(package) == (7, 0, "twice"), "kept on disk"
    (package / "callee.py").write_text(CALLEE.replace("STEP = 1", "STEP = 3").replace("+", "-"))  # a constant and a function
    assert run(package) == (-1, 1, "twice")


def test_every_kernel_is_compiled_so():
    """`cache=True` beside `compiling.kernel` would keep what other files changed."""
    for path in pathlib.Path(kernels.__file__).parent.glob("*.py"):
        assert path.name == "compiling.py" or "cache=" not in path.read_text(encoding="utf-8"), path.name


def test_the_package_imports_without_numba():
    program = "import sys, tokenreel.vocabularies.unit_memo.kernels; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "False"
