"""Where the user's cache lies."""

from __future__ import annotations

import pathlib

import pytest

from tokenreel.storage import user_cache


def test_it_lies_where_the_user_says_or_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache.folder("arrays") == str(tmp_path / "tokenreel/arrays")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert user_cache.folder("arrays") == "/home/someone/.cache/tokenreel/arrays"
