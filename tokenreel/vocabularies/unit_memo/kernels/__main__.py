"""Compiles every loop beforehand: `NUMBA_CACHE_DIR=DIR python -m tokenreel.vocabularies.unit_memo.kernels`.

For images and for clusters, whose workers then read the directory. `NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` name the CPU to compile for,
here and where the workers run: without them the machine code serves CPUs like this one alone.

Tested in tests/tokenreel/vocabularies/unit_memo/kernels/test_compiling.py.
"""

# mypy: ignore-errors
# (Numba's classes have no types.)

from __future__ import annotations

import importlib
import pkgutil
import sys

from tokenreel.vocabularies.unit_memo import kernels


def main() -> int:
    """Compiles what is not kept, and says how much; exit code 1 where it cannot be kept."""
    from numba.core.dispatcher import Dispatcher
    from numba.core.registry import cpu_target

    modules = [f"{kernels.__name__}.{module.name}" for module in pkgutil.iter_modules(kernels.__path__) if module.name != "__main__"]
    found = {}
    for module in map(importlib.import_module, modules):
        found |= {id(value): value for value in vars(module).values() if isinstance(value, Dispatcher) and value.nopython_signatures}
    kept = [each.stats for each in found.values() if each.stats.cache_path]  # what they call is part of them
    compiled, paths = sum(sum(stats.cache_misses.values()) for stats in kept), sorted({stats.cache_path for stats in kept})
    _, cpu, _ = cpu_target.target_context.codegen().magic_tuple()
    print(f"{len(kept)} loops for CPUs of the name {cpu!r}: {compiled} compiled, in {', '.join(paths) or 'no directory'}")
    return int(len(paths) != 1)


if __name__ == "__main__":
    sys.exit(main())
