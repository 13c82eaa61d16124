"""The code that launched a job, which its workers compare with their own: datasets are the same to the byte where the code is."""

from __future__ import annotations

import functools
import hashlib
import pathlib
from typing import Any

from tokenreel.errors import BuildError
from tokenreel.version import __version__

_PACKAGES = ("tokenreel", "transforms")


class Launched:
    """Stands in what a job carries to its workers; a worker that unpacks it and runs other code stops there, before it writes anything.

    It compares the version and a digest of the source, since versions of formats and algorithms are part of that.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (__version__, source_digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Launched)

    def __hash__(self) -> int:
        return hash(Launched)


def _arrive(version: str, source: str) -> Launched:
    """Makes the same on a worker.

    Raises:
      BuildError: its code is not that of the launcher.
    """
    if (version, source) != (__version__, source_digest()):
        raise BuildError(
            f"this worker runs tokenreel {__version__} (source {source_digest()}), and the job was launched by tokenreel {version} "
            f"(source {source}). Their datasets may differ, so it stops before it writes anything. Workers need the launcher's code: the "
            "same image (--sdk_container_image), an archive of it (--setup_file), or the same installation in their pools."
        )
    return Launched()


@functools.cache
def source_digest() -> str:
    """Digests the Python files of the packages whose code workers run."""
    found = hashlib.sha256()
    root = pathlib.Path(__file__).resolve().parents[1]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root)
            if "build" not in name.parts:  # what the making of a wheel leaves in a clone
                found.update(f"{name.as_posix()}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]
