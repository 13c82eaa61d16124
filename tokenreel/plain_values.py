"""Values as JSON and YAML have them: what NumPy computed is a number like any other.

Tested in tests/tokenreel/config/test_parsing.py and tests/tokenreel/objectives/test_registry.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def to_plain(value: Any) -> Any:
    """Turns NumPy's scalars into Python's, and its arrays into lists, inside of lists, tuples and mappings too; all else is left as it is.

    >>> to_plain({"rate": np.float64(0.5), "sizes": (np.int64(3), np.arange(2))})
    {'rate': 0.5, 'sizes': (3, [0, 1])}
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(to_plain, value)) if type(value) in (list, tuple) else value
    return value
