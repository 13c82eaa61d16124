"""What the manifests of caches, of mixtures and of features share: a version, and a fingerprint of what they tell.

Tested in tests/tokenreel/tasks/test_caching.py and tests/pipelines/test_cache_mixtures.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from tokenreel import keys
from tokenreel.errors import ManifestError
from tokenreel.storage import files


class _Fingerprinted(Protocol):
    @property
    def fingerprint(self) -> str: ...


_Manifest = TypeVar("_Manifest", bound=_Fingerprinted)


def fingerprint(format: str, version: int, body: Mapping[str, Any]) -> str:
    """Identifies what a manifest tells."""
    return keys.digest(format, version, json.dumps(body, sort_keys=True))


def find(path: str, format: str) -> dict[str, Any] | None:
    """Reads the JSON of a manifest of the format; None where there is none, or that of something else: who opens it as that says more."""
    try:
        body = json.loads(files.read_bytes(path))
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) and body.get("format") == format else None


def check(body: Mapping[str, Any], path: str, version: int, make: Callable[[], _Manifest], advice: str) -> _Manifest:
    """Makes a manifest of the JSON that one was read from, and compares both.

    Args:
      body: the JSON.
      path: of the file.
      version: of the format that is read.
      make: makes the manifest.
      advice: what to do where it was altered, as sentences.

    Raises:
      ManifestError: it was altered, or a newer version wrote it.
    """
    if body.get("format_version") != version:
        raise ManifestError(
            f"{path}: format version {body.get('format_version')!r}, this version of tokenreel reads {version}. Install the version "
            f"that wrote it ({body.get('tokenreel_version', 'unknown')})."
        )
    try:
        manifest = make()
        sound = body["fingerprint"] == manifest.fingerprint
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ManifestError(f"{path}: altered: {type(error).__name__} ({error}). {advice}") from error
    if not sound:
        raise ManifestError(f"{path}: altered: its fingerprint is not that of what it says. {advice}")
    return manifest
