"""Tasks on their way to workers, with the functions of the modules that register them.

Tested in tests/pipelines/test_cache_tasks.py and tests/pipelines/test_build_tasks.py.
"""

import sys
from collections.abc import Sequence
from typing import Any

from apache_beam.internal import cloudpickle

from tokenreel.errors import ConfigError


def pickled(task: Any, modules: Sequence[str]) -> bytes:
    """Gives the bytes of a task, with its functions, which workers need not find by name.

    Args:
      task: has a `name`.
      modules: whose functions travel along.

    Raises:
      ConfigError: something of it cannot be sent.
    """
    named = [sys.modules[module] for module in modules if module in sys.modules]
    for module in named:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(task))
    except Exception as error:
        raise ConfigError(
            f"{task.name!r}: cannot be sent to workers ({type(error).__name__}: {error}). Make its functions picklable."
        ) from error
    finally:
        for module in named:
            cloudpickle.unregister_pickle_by_value(module)
