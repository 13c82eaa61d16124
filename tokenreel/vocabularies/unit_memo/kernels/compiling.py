"""Compiles the loops of the unit memo with Numba, on the first use of a machine."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.resources
import inspect
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba import njit, types
from numba.core import caching, environment, registry
from numba.core.runtime import rtsys

# Types of the arguments: [n] C-contiguous arrays that are not written to. Numba takes writable arrays in their place, too.
BOOL, U8, U32, U64, I32, I64, F32 = (
    types.Array(kind, 1, "C", readonly=True)
    for kind in (types.boolean, types.uint8, types.uint32, types.uint64, types.int32, types.int64, types.float32)
)


def kernel(*signatures: Any, counts_arrays: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles a function for the types of some arguments and keeps the machine code on disk.

    What is kept is looked for in `NUMBA_CACHE_DIR`, or else beside the source, and it is enough that it can be read: an image or the disk
    of a cluster holds what `python -m tokenreel.vocabularies.unit_memo.kernels` compiled there. Where nothing is kept and nothing can be (a
    read-only installation, no home), each process compiles for itself, and says so.

    Args:
      signatures: of each combination of arguments, a tuple of their Numba types.
      counts_arrays: whether users of arrays are counted, with an atomic operation each. False for loops in which that costs more than their
        work: neither they nor the functions they call may make an array, and `_nrt` is no public option of Numba.

    Returns:
      a decorator.
    """

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__qualname__
        # Numba names the files on disk by the function, and drops them when the file that defines the function changes. The machine code
        # also holds copies of functions and constants of the other files, so their digest goes into the name.
        function.__qualname__ = f"{name}_{_digest_of_sources()}"
        try:
            try:
                return _load_or_compile(function, signatures, counts_arrays)
            except (RuntimeError, OSError):
                _say_what_it_costs()
                return njit(list(signatures), nogil=True, _nrt=counts_arrays)(function)
        finally:
            function.__qualname__ = name

    return compiled


def _load_or_compile(function: Callable[..., Any], signatures: tuple[Any, ...], counts_arrays: bool) -> Any:
    """Does what `njit(signatures, nogil=True, cache=True)` does, with `MachineCode` in place of Numba's own cache."""
    dispatcher = njit(nogil=True, _nrt=counts_arrays)(function)
    if numba.config.DISABLE_JIT:  # for debugging: it is the function itself
        return dispatcher
    with _where_to_look():
        dispatcher._cache = MachineCode(function)
    for signature in signatures:
        dispatcher.compile(signature)
    dispatcher.disable_compile()
    return dispatcher


class MachineCode(caching.FunctionCache):
    """What is kept on disk of a function: loaded without what only the compiler needs."""

    def __init__(self, function):
        super().__init__(function)
        impl = self._impl
        self._cache_file = CodeFile(impl.locator.get_cache_path(), impl.filename_base, impl.locator.get_source_stamp())

    def load_overload(self, sig, target_context):
        """Gives the machine code of a signature; None where it has to be compiled.

        Numba would first import all that it can compile, which takes 0.5 s and brings SciPy. Machine code needs its memory manager alone.
        """
        rtsys.initialize(target_context)
        found = self._load_overload(sig, target_context)
        return super().load_overload(sig, target_context) if found is None else found


class CodeFile(caching.IndexDataCacheFile):
    """The files of a function, read without the modules of Numba that its machine code was made of."""

    def _load_data(self, name):
        with open(self._data_path(name), "rb") as file:
            return _Reader(file).load()


class _Reader(pickle.Unpickler):
    def find_class(self, module, name):
        """Finds what a file names."""
        return _rebuild_environment if (module, name) == (environment.__name__, "_rebuild_env") else super().find_class(module, name)


def _rebuild_environment(module, constants, name):
    """Does what `environment._rebuild_env` does, but does not import modules of Numba: only interpreted code looks at their names.

    Each function of theirs that is pasted into a kernel has its own environment. To import `numba.np.arrayobj`, for one, takes 0.1 s.
    """
    found = environment.lookup_environment(name)
    if found is not None or module in sys.modules or module.partition(".")[0] != "numba":
        return found or environment._rebuild_env(module, constants, name)
    found = environment.Environment({"__name__": module})
    found.consts[:] = constants
    found.env_name = name
    environment.Environment._memo[name] = found
    return found


@functools.cache
def _digest_of_sources() -> str:
    """Hashes all source files of this package; read through `importlib`, for a package may lie in an archive."""
    digest = hashlib.sha256()
    for path in sorted(importlib.resources.files(__package__).iterdir(), key=lambda path: path.name):
        if path.name.endswith(".py"):
            digest.update(b"%s\0%s\0" % (path.name.encode(), path.read_bytes()))
    return digest.hexdigest()[:16]


class ReadableCache(caching.InTreeCacheLocator):
    """A directory that holds the machine code of a function for this CPU, whoever may write there.

    Numba's own classes pass over a directory that the process cannot write to.
    """

    @classmethod
    def from_function(cls, py_func, py_file):
        """Finds the directory; None where none holds what is asked for."""
        found = cls(py_func, py_file)
        if numba.config.CACHE_DIR:
            found._cache_path = caching.UserProvidedCacheLocator(py_func, py_file).get_cache_path()
        return found if found._holds(py_func) else None

    def ensure_cache_path(self):
        """Leaves the directory as it is."""

    def _holds(self, function):
        module = os.path.splitext(os.path.basename(inspect.getfile(function)))[0]
        python = f"py{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
        index = f"{module}.{function.__qualname__}-{self.get_disambiguator()}.{python}.nbi"
        try:
            with open(os.path.join(self._cache_path, index), "rb") as file:
                if pickle.load(file) != numba.__version__:
                    return False
                stamp, kept = pickle.load(file)
        except Exception:  # there is none, or it is damaged, which a pickle may tell in any way
            return False
        cpu = registry.cpu_target.target_context.codegen().magic_tuple()  # which `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` name
        return stamp == self.get_source_stamp() and any(key[1] == cpu for key in kept)


@contextlib.contextmanager
def _where_to_look() -> Iterator[None]:
    """Has Numba look into directories that it may only read, before those that it would write to; what the user set comes first."""
    before = numba.config.CACHE_LOCATOR_CLASSES
    own = [f"{__name__}.{ReadableCache.__name__}", *(kind.__name__ for kind in caching.CacheImpl._locator_classes)]
    numba.config.CACHE_LOCATOR_CLASSES = before or ",".join(own)
    try:
        yield
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = before


@functools.cache
def _say_what_it_costs() -> None:
    logging.getLogger(__name__).warning(
        "the loops of the tokenizer are compiled in this process, which takes some 15 s of CPU in each: no directory holds them for this "
        "CPU, and none can be written to. `NUMBA_CACHE_DIR=DIR python -m %s` compiles them into one that workers need only read.",
        __package__,
    )
