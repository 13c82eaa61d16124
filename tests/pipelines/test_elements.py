"""What passes through the runner: no element grows with the number of files, groups, shards or token ids."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from apache_beam.coders import coder_impl, coders

from pipelines import cli
from tests.soak import starved
from tokenreel.format import manifest

LARGEST = 1 << 16


@dataclasses.dataclass
class Elements:
    """The elements that a build encoded.

    Attributes:
      count: their number.
      largest: bytes of the largest.
      what: that one, shortened.
    """

    count: int = 0
    largest: int = 0
    what: str = ""


@pytest.fixture
def elements(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elements]:
    """Measures what the runner encodes, in this process: elements of collections, side inputs, and what combiners hand on."""
    found = Elements()

    class Measured(coder_impl.WindowedValueCoderImpl):  # type: ignore[misc]
        def encode_to_stream(self, value: Any, out: Any, nested: bool) -> None:
            before = out.size()
            super().encode_to_stream(value, out, nested)
            found.count += 1
            if out.size() - before > found.largest:
                found.largest, found.what = out.size() - before, repr(value)[:500]

    def create(self: Any) -> Any:
        return Measured(self.wrapped_value_coder.get_impl(), self.timestamp_coder.get_impl(), self.window_coder.get_impl())

    monkeypatch.setattr(coders.WindowedValueCoder, "_create_impl", create)
    yield found


@pytest.fixture
def build_files(tmp_path: pathlib.Path, elements: Elements) -> Callable[..., tuple[Elements, pathlib.Path]]:
    """Builds a dataset from so many files, some to a stage file, with as many groups and shards; says what the runner encoded."""

    def build(count: int, per_block: int, **settings: Any) -> tuple[Elements, pathlib.Path]:
        root = tmp_path / str(count)
        (root / "text").mkdir(parents=True)
        for i in range(count):
            (root / "text" / f"{i:06d}.txt").write_bytes(b"%06d and some more" % (i % 1000))
        config = {
            "output": str(root / "dataset"),
            "sources": [{"files": [str(root / "text")], "format": "text"}],
            "vocabulary": {"kind": "bytes"},
            "packing": {"seq_len": 16},
            "order": {"group_tokens": 800, "mode": "source"},
            "shards": {"examples": 80, "provenance": False},
            "splits": {"validation": 0.1},
            "execution": {"block_mb": 20 * per_block / (1 << 20)},
            **settings,
        }
        (root / "config.yaml").write_text(yaml.safe_dump(config))
        elements.count = elements.largest = 0
        assert cli.main(["build", str(root / "config.yaml"), "--direct_num_workers=1"]) == 0
        return dataclasses.replace(elements), root / "dataset"

    return build


@pytest.mark.parametrize("duplicates", ["none", "documents", "lines"])
def test_no_element_grows_with_the_number_of_files(
    build_files: Callable[..., tuple[Elements, pathlib.Path]], monkeypatch: pytest.MonkeyPatch, duplicates: str
) -> None:
    """40 files in 8 stage files against 1,000 in 200, and as many times the groups and shards."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    settings = {} if duplicates == "none" else {"duplicates": {"remove": duplicates}}
    few, _ = build_files(40, 5, **settings)
    many, dataset = build_files(1000, 5, **settings)
    assert many.count > 10 * few.count and len(manifest.read(str(dataset)).splits["train"].shards) > 10
    assert max(few.largest, many.largest) < LARGEST
    # Numbers have more digits, and where few rows travel in an accumulator, of many the paths of files do.
    assert many.largest < 1.5 * few.largest, many.what


def test_many_files_in_one_block(build_files: Callable[..., tuple[Elements, pathlib.Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    many, _ = build_files(2000, 2000)
    assert many.largest < LARGEST, many.what


@pytest.mark.slow
def test_many_files_on_a_starved_machine(tmp_path: pathlib.Path) -> None:
    """The soak with fewer files: `python -m tests.soak starved` takes 100,000."""
    config = starved.write(tmp_path, 5000)
    found, log, _ = starved.starve(config, seed=0)
    assert found == starved.whole(config), log
