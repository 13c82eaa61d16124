from __future__ import annotations

import pytest

from pipelines import local
from tokenreel.errors import BuildError


def test_errors_from_other_processes_keep_their_kind() -> None:
    text = "Traceback ...\ntokenreel.errors.BuildError: x: lost. Run again. [while running 'A/B']\n"
    with pytest.raises(BuildError, match=r"^x: lost. Run again\.$"), local.plain_errors():
        raise RuntimeError(text)
