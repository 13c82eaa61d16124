"""What can go wrong, by whom it concerns. Every message names the thing, the value, what was expected and the way out."""

from __future__ import annotations

import errno
from collections.abc import Sequence

PATHS_BEGIN = "A relative path in a config begins in the config's folder, one on the command line in the working directory."
"""What a message about a missing file adds."""


_WAYS_OUT = {
    errno.EACCES: "Give a path that this user may read, or write where it is written; `ls -ld` shows who may.",
    errno.EPERM: "Give a path that this user may change.",
    errno.EROFS: "The file system is mounted read-only: give a path on another.",
    errno.EMFILE: "Raise the limit of open files before the process starts (`ulimit -n`), or close some.",
    errno.ENFILE: "All processes of this machine together have too many files open: end some, or raise fs.file-max.",
    errno.ENAMETOOLONG: "Give a shorter path.",
    errno.ELOOP: "Its links lead in a circle: give the path of the file itself.",
    errno.EISDIR: "It is a directory: give the path of a file.",
    errno.ENOTDIR: "Part of the path is a file: give a path below directories.",
    errno.EIO: "The disk cannot read or write it: look at the system's log, and copy the file again from where it came from.",
}


def describe_os_error(error: OSError, path: str | None = None) -> str:
    """Says in a line what the system refused, of which file, and the way out where one is known.

    Args:
      error: as the system raised it.
      path: of the file that was meant, where the error may not know it.

    >>> describe_os_error(OSError(errno.EROFS, "Read-only file system", "/data/out"))
    '/data/out: Read-only file system. The file system is mounted read-only: give a path on another.'
    """
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None) or path
    what = f"{names}: {error.strerror or error}" if names else str(error)
    way = _WAYS_OUT.get(error.errno or 0)
    return f"{what}. {way}" if way else what


class TokenreelError(Exception):
    """Anything tokenreel raises on purpose; the command line prints its message alone, without a traceback."""


class ConfigError(TokenreelError, ValueError):
    """A setting is unknown, of the wrong type, or impossible together with another."""


class SourceError(TokenreelError):
    """An input file is missing, unreadable, or changed while it was read.

    Attributes:
      missing: the field that the file lacks, where that is what is wrong.
      fields: the fields that it has.
    """

    def __init__(self, message: str, missing: str | None = None, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing, self.fields = missing, tuple(fields)


class VocabularyError(TokenreelError):
    """A vocabulary cannot be loaded, or cannot do what is asked of it."""


class BuildError(TokenreelError):
    """A build cannot go on: a foreign output directory, a violated conservation law, a dead worker."""


class LostOutputError(BuildError):
    """The output is another job's by now: this one writes nothing more."""


class StorageError(TokenreelError):
    """A file cannot be read or written though it may be there: no permission, no credentials, a service that keeps failing, no descriptor.

    Attributes:
      code: HTTP status of the answer, if there was one.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ShelfError(TokenreelError):
    """Something is not on the shelf, or a bundle is not what its name says: damaged, incomplete, or made by somebody else's program."""


class ManifestError(TokenreelError):
    """A dataset directory is not what its manifest says: incomplete, altered, or of another version."""
