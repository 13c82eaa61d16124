"""The licences of what an installation brings: `python -m tests.licences`.

Prints for each package that `tokenreel` needs, directly or by another, its version and the licence that it names, and ends with 1 where one
names none or a licence that binds whoever passes it on (GPL, AGPL).
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

from packaging.requirements import Requirement

_BINDING = re.compile(r"\bA?GPL|GNU (Affero )?General Public")  # the lesser one (LGPL) does not bind who imports


def needed(name: str = "tokenreel") -> list[metadata.Distribution]:
    """Finds the packages that an installation of one brings here, without extras, itself aside; sorted by name."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(name, frozenset[str]())]
    while waiting:
        package, extras = waiting.pop()
        for text in metadata.requires(package) or ():
            requirement = Requirement(text)
            if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}):
                continue
            key = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if key not in found:
                found[key] = metadata.distribution(requirement.name)
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return [found[key] for key in sorted(found)]


def licence(package: metadata.Distribution) -> str:
    """Gives the licence that a package names; "" where it names none."""
    told = package.metadata
    classifiers = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or () if line.startswith("License ::")]
    text = told.get("License-Expression") or " and ".join(classifiers) or (told.get("License") or "").strip()
    return str(text).splitlines()[0][:60] if text else ""


def main() -> int:
    """Prints the table."""
    wrong = 0
    for package in needed():
        named = licence(package)
        bad = not named or _BINDING.search(named) is not None
        wrong += bad
        print(f"{package.metadata['Name']:32} {package.version:14} {named or 'names none'}{'   <- look at it' if bad else ''}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
