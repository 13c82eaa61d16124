"""What is kept on disk of the compiled loops, and when it is compiled again."""

import os
import pathlib
import platform
import re
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


PRINT = "from loops.caller import twice; print(twice(5), sum(twice.stats.cache_misses.values()), twice.py_func.__qualname__)"
# Another machine: a CPU of another name, with other features, and a process that may write nowhere.
ELSEWHERE = """
import llvmlite.binding
import numba.core.caching
llvmlite.binding.get_host_cpu_name = lambda: "another"
llvmlite.binding.get_host_cpu_features = lambda: type("", (), {"flatten": lambda self: ""})()
def refuse(**_): raise PermissionError
numba.core.caching.tempfile.TemporaryFile = refuse
"""


def run(package, program=PRINT, **environment):
    """What `twice(5)` is in a process of its own, how often it was compiled there, and its name; prints what the process logged."""
    known = {**os.environ, **environment}
    result = subprocess.run([sys.executable, "-c", program], cwd=package.parent, env=known, capture_output=True, text=True, check=True)
    value, compiled, name = result.stdout.split()
    print(result.stderr)
    return int(value), int(compiled), name


NAMED = {"NUMBA_CPU_NAME": "x86-64" if platform.machine() == "x86_64" else "generic", "NUMBA_CPU_FEATURES": ""}


def test_machine_code_of_a_named_cpu_is_read_where_nothing_can_be_written(package, tmp_path, monkeypatch, capsys):
    """As an image keeps it: compiled once, by root, for the CPU that the workers are said to have."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for place in ({}, {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}):
        assert run(package, **NAMED, **place) == (7, 1, "twice")
        assert run(package, ELSEWHERE + PRINT, **NAMED, **place) == (7, 0, "twice")
    assert "compiled in this process" not in capsys.readouterr().out
    # Not named, the CPU is the one that is there, for which nothing is kept.
    nowhere = "\n".join(line for line in ELSEWHERE.splitlines() if "get_host" not in line) + "\n"
    assert run(package, nowhere + PRINT)[0] == 7
    said = capsys.readouterr().out
    assert "takes some 15 s of CPU in each" in said and "NUMBA_CACHE_DIR=DIR python -m loops" in said
    (tmp_path / "cache").rename(tmp_path / "gone")
    shutil.rmtree(package / "__pycache__")
    assert run(package, ELSEWHERE + PRINT, **NAMED)[0] == 7
    assert "takes some 15 s of CPU in each" in capsys.readouterr().out


def test_a_damaged_cache_is_passed_over(package, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert run(package, **NAMED) == (7, 1, "twice")
    (index,) = (package / "__pycache__").glob("caller.*.nbi")
    index.write_bytes(b"damaged")
    assert run(package, ELSEWHERE + PRINT, **NAMED)[0] == 7


@pytest.mark.slow
def test_every_kernel_is_compiled_beforehand(tmp_path):
    """What the command keeps is all that encoding needs."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", kernels.__name__]
    for compiled in (True, False):
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert re.match(r"\d+ loops for CPUs of the name '\S+': ", found) and (": 0 compiled" not in found) == compiled


# Loads all loops; the compiler's libraries are imported when a user's function is compiled in the same process, which works as ever.
LOAD = f"""
import sys, runpy
import numpy as np
try:
    runpy.run_module("{kernels.__name__}", run_name="__main__")
except SystemExit as end:
    assert not end.code
assert not {{"numba.np.arrayobj", "numba.np.linalg", "numba.np.arraymath", "scipy.linalg"}} & set(sys.modules), "the compiler was loaded"
from tokenreel.vocabularies.unit_memo.kernels import trie
print(trie.build_trie(np.frombuffer(b"ab", dtype=np.uint8), np.array([0, 1, 2]), np.arange(2, dtype=np.int32)).shape)
import numba
print(numba.njit(lambda a: np.linalg.norm(a @ a))(np.eye(4)))
"""


def test_machine_code_is_loaded_without_the_compiler():
    """Its libraries, SciPy among them, would take each worker half a second."""
    subprocess.run([sys.executable, "-m", kernels.__name__], check=True, capture_output=True)
    found = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert " 0 compiled" in found.stdout and found.stdout.splitlines()[1:] == ["(512,)", "2.0"]


def test_loops_run_as_python_where_nothing_is_compiled(package, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    program = "from loops.caller import twice; print(twice(5), type(twice).__name__)"
    out = subprocess.run(
        [sys.executable, "-c", program], cwd=package.parent, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True
    )
    assert out.stdout.decode().split() == ["7", "function"], out.stderr.decode()


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
