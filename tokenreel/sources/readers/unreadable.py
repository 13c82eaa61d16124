"""Telling bytes that cannot be understood from a disk that cannot be read.

Tested in tests/tokenreel/sources/readers/test_parquet.py and tests/tokenreel/sources/readers/test_arrow.py.
"""

from __future__ import annotations

import struct

from tokenreel.errors import SourceError
from tokenreel.sources.inputs import InputFile


def errors() -> tuple[type[BaseException], ...]:
    """What decoders raise on bytes that are not what they should be: Arrow's own exceptions, and all that it borrows."""
    import pyarrow as pa

    return (
        pa.ArrowException,
        ValueError,
        OSError,
        MemoryError,
        EOFError,
        LookupError,
        NotImplementedError,
        TypeError,
        OverflowError,
        struct.error,
    )


def reraise_reading(error: BaseException, file: InputFile) -> None:
    """Raises what concerns the disk or the network: it has an error number, or a class of its own. Arrow raises plain OSErrors.

    Raises:
      SourceError: the file cannot be read.
    """
    if isinstance(error, OSError) and type(error) is not OSError:
        raise error
    if isinstance(error, OSError) and error.errno is not None:
        raise SourceError(f"{file.path}: {error.strerror}. Check its permissions, or leave it out of the source.") from error


def first_line(error: BaseException) -> str:
    """What an exception says, in short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
