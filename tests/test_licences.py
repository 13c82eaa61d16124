"""What an installation brings names its licence, and none that binds whoever passes it on."""

from __future__ import annotations

from email.message import Message
from typing import Any

import pytest

from tests import licences


def test_what_is_needed_names_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert licences.main() == 0, capsys.readouterr().out
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"apache-beam", "numpy", "google-auth"} <= set(names), "directly and by another"


@pytest.mark.parametrize(
    ("fields", "named", "binds"),
    [
        ({"License-Expression": "MIT"}, "MIT", False),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, "BSD License", False),
        ({"License": "GPL-3.0\nmore"}, "GPL-3.0", True),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"}, "GNU General Public License v3 (GPLv3)", True),
        ({"License": "LGPL-2.1"}, "LGPL-2.1", False),
        ({}, "", False),
    ],
)
def test_where_a_licence_is_named(fields: dict[str, str], named: str, binds: bool) -> None:
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value
    package: Any = type("Package", (), {"metadata": metadata})()
    assert licences.licence(package) == named
    assert (licences._BINDING.search(named) is not None) == binds
