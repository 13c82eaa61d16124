"""Bytes of files in memory of Arrow's own, for what its threads read.

They read Parquet whatever `use_threads` says. One that still holds bytes of a Python file when the interpreter ends has to ask it for leave
to let go of them, and takes the process down: `terminate called without an active exception`.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np


def read(file: IO[bytes]) -> Any:
    """Reads all of a file, from its beginning: a `pyarrow.BufferReader` of a copy that is no Python object.

    Raises:
      ModuleNotFoundError: pyarrow is not installed.
    """
    import pyarrow as pa

    file.seek(0)
    data = np.frombuffer(file.read(), dtype=np.uint8)
    buffer = pa.allocate_buffer(len(data))
    np.frombuffer(buffer, dtype=np.uint8)[:] = data
    return pa.BufferReader(buffer)
