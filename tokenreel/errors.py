"""What can go wrong, by whom it concerns. Every message names the thing, the value, what was expected and the way out."""

from __future__ import annotations

from collections.abc import Sequence

PATHS_BEGIN = "A relative path in a config begins in the config's folder, one on the command line in the working directory."
"""What a message about a missing file adds."""


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


class StorageError(TokenreelError):
    """A file cannot be read or written though it may be there: no permission, no credentials, a service that keeps failing, no descriptor.

    Attributes:
      code: HTTP status of the answer, if there was one.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ManifestError(TokenreelError):
    """A dataset directory is not what its manifest says: incomplete, altered, or of another version."""
