"""Tells bytes that no decoder understands, which are a fault of the file, from a disk that cannot be read, which stops the build.

Tested in tests/tokenreel/sources/readers/test_parquet.py and tests/tokenreel/sources/readers/test_arrow.py.
"""

from __future__ import annotations

import struct

from tokenreel.errors import SourceError
from tokenreel.sources.inputs import InputFile
from tokenreel.storage.decompression import TooLargeError


def errors() -> tuple[type[BaseException], ...]:
    """Lists what decoders raise on bytes that are not what they should be: Arrow's own exceptions, and all that it borrows from Python."""
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
    """Raises an error again that concerns the disk or the network; returns where it concerns the bytes of the file.

    The system's errors have a number, or a class of their own such as PermissionError; what Arrow raises on broken bytes is a plain OSError
    without a number.

    Raises:
      SourceError: the disk or the network failed with a number.
      OSError: it failed with a class of its own.
    """
    if isinstance(error, OSError) and type(error) is not OSError:
        raise error
    if isinstance(error, OSError) and error.errno is not None:
        raise SourceError(f"{file.path}: {error.strerror}. Check its permissions, or leave it out of the source.") from error


def first_line(error: BaseException) -> str:
    """Gives the first line of an exception's message, or its class's name, in at most 300 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def describe_break(error: Exception, read: str) -> tuple[str, str]:
    """Gives the reason and the message for a stream that could not be read to its end.

    Args:
      error: why; the last of its chunks.
      read: how much was: "after 7 bytes".
    """
    if isinstance(error, TooLargeError):
        return "oversized", f"{read[0].upper()}{read[1:]}: {error}. Nothing behind it is read."
    return "broken_archive", f"the archive is cut short or broken {read}: {error}. Fetch the file again."
