"""What an archive of several files holds, and which members are documents of a source.

Tested in tests/tokenreel/sources/test_archives.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclasses.dataclass
class Member:
    """A file in an archive.

    Attributes:
      name: as the archive has it.
      size: bytes that it takes of the archive.
      chunks: what it holds; last an exception where that cannot be read to the end. To be taken before the next member is asked for.
      refused: what it is instead of a plain file, if it is none: "a symbolic link".
    """

    name: str
    size: int
    chunks: Iterator[bytes | Exception]
    refused: str = ""

    @property
    def path(self) -> str:
        """Its name, with "/" between the parts and without what only says that it lies where the archive is unpacked."""
        parts = self.name.split("/")
        while len(parts) > 1 and parts[0] in (".", ""):
            if parts[0] == "":
                break
            parts = parts[1:]
        return "/".join(parts)

    @property
    def hidden(self) -> bool:
        """True for what folders leave out too: names that begin with "." or "_", and all that lies in folders of such names."""
        return any(part[:1] in (".", "_") and part != ".." for part in self.path.split("/"))

    @property
    def problem(self) -> str:
        """Why it is not read; "" where it is."""
        parts = self.name.replace("\\", "/").split("/")
        if parts[0] == "" or _DRIVE.match(parts[0]) or "\0" in self.name:
            return "has an absolute name" if self.name else "has no name"
        if ".." in parts:
            return "has a name that leads out of the archive"
        return f"is {self.refused}" if self.refused else ""
