"""The code in the documentation runs, on a dataset that a build made."""

import pathlib
import re
from collections.abc import Callable

import numpy as np
import pytest

from pipelines import cli

ROOT = pathlib.Path(__file__).parents[1]


def blocks(name: str) -> list[str]:
    """The Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def demo(tmp_path: pathlib.Path, write_config: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A working directory with a dataset where the documentation has one."""
    dataset = tmp_path / "demo/dataset"
    assert cli.main(["build", write_config(output=str(dataset)), "--direct_num_workers=1"]) == 0
    monkeypatch.chdir(tmp_path)
    return dataset


def test_the_format_page_is_right(demo: pathlib.Path) -> None:
    names: dict[str, object] = {}
    for block in blocks("docs/format.md"):
        if "tensorflow" in block:
            pytest.importorskip("tensorflow")
        exec(compile(block, "docs/format.md", "exec"), names)
    tokens, starts, tensors = (names[name] for name in ("tokens", "starts", "tensors"))
    assert isinstance(tokens, np.ndarray) and isinstance(starts, np.ndarray)
    assert tokens.shape == starts.shape == (3, 65)
    assert tokens[0].tolist() == next(iter(tensors)).numpy().tolist()  # type: ignore[call-overload]
    assert starts.any()


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"
