"""What blocks record of the bytes they read: the same wherever the text lies, and compared with what a bucket says that it holds."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator

import google_crc32c
import pytest

from pipelines import cli
from tests import buckets
from tests.conftest import tree_digest
from tokenreel.assembly.remembered_inputs import ContentDigest
from tokenreel.format import manifest
from tokenreel.staging import contents, stage_file
from tokenreel.storage import files, gcs

WriteConfig = Callable[..., str]
REMOTE = f"gs://{buckets.BUCKET}"


def build(config: str, output: pathlib.Path, block_mb: float = 0.005) -> int:
    return cli.main(["build", config, "--output", str(output), "--direct_num_workers=1", "--set", f"execution.block_mb={block_mb}"])


@pytest.fixture
def small(corpus: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A few kilobytes of each kind of file."""
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "plain.jsonl").write_bytes(b"".join((corpus / "plain.jsonl").read_bytes().splitlines(keepends=True)[:60]))
    for name in ("no_final_newline.jsonl", "empty.jsonl", "nested/packed.jsonl.gz"):
        shutil.copy(corpus / name, folder)
    return folder


def contents_of(stage: str) -> dict[str, tuple[int, int | None]]:
    """What the stage files of a directory say about the files that they are made of."""
    infos = []
    for name in files.list_files(stage):
        header, body = stage_file.read_header(files.join(stage, name)) or ({}, 0)
        names = {field for field in stage_file.StageInfo.__dataclass_fields__ if field in header}
        known = {field: header[field] for field in names}
        # Nothing tells which block a stage file belongs to; its files do.
        order = (header["files"], [extent[1] for extent in header["extents"]])
        infos.append((order, stage_file.StageInfo(path=files.join(stage, name), source=0, block=0, body=body, **known)))
    infos.sort(key=lambda pair: pair[0])
    return {content.name: (content.bytes, content.crc32c) for content in contents.read_contents(info for _, info in infos)}


def test_the_contents_are_those_of_the_files_wherever_they_lie(
    write_config: WriteConfig, small: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    found = {path.relative_to(small).as_posix(): path.read_bytes() for path in small.rglob("*") if path.is_file()}
    expected = {name: (len(data), google_crc32c.value(data)) for name, data in found.items()}
    with buckets.server():
        buckets.upload(small, f"{REMOTE}/corpus")
        for number, (place, block_mb) in enumerate([(str(small), 0.005), (f"{REMOTE}/corpus", 0.03)]):
            stage = str(tmp_path / f"stage{number}")
            config = write_config(sources=[{"name": "docs", "files": [place], "metadata_fields": ["number"]}], execution={"stage": stage})
            assert build(config, tmp_path / f"dataset{number}", block_mb) == 0
            assert contents_of(stage) == expected


@pytest.mark.parametrize("recorded", [True, False])
def test_what_was_read_is_read_once_from_the_headers(
    write_config: WriteConfig, small: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    """Planning looks at all headers, and writes the manifest's part of them down; where that is lost they are read again."""
    config = write_config(sources=[{"name": "docs", "files": [str(small)]}])
    passes = []
    read_contents = contents.read_contents

    def counted(infos: Iterable[stage_file.StageInfo]) -> Iterator[contents.FileContent]:
        passes.append(1)
        return read_contents(infos)

    monkeypatch.setattr(contents, "read_contents", counted)
    if not recorded:
        monkeypatch.setattr(contents.sealed, "write", lambda path, content: None)
    assert build(config, tmp_path / "dataset") == 0
    assert len(passes) == (1 if recorded else 2)
    expected = ContentDigest()
    for path in sorted(small.iterdir()):
        expected.add(path.name, len(path.read_bytes()), google_crc32c.value(path.read_bytes()))
    assert manifest.read(str(tmp_path / "dataset")).totals["inputs"]["docs"]["content"] == str(expected)


def test_a_flip_inside_a_range_is_found_before_anything_is_made_of_it(
    write_config: WriteConfig,
    small: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A letter that becomes another one breaks no format: only the CRC of the object tells."""
    read = gcs.read
    flipped = []

    def flipping(path: str, offset: int = 0, *rest: object) -> bytes:
        data = read(path, offset, *rest)  # type: ignore[arg-type]
        at = data.find(b"the ", 1000) if "plain.jsonl" in path and offset > 0 and not flipped else -1
        if at < 0:
            return data
        flipped.append(offset)
        return data[:at] + b"tie " + data[at + 4 :]

    with buckets.server():
        buckets.upload(small, f"{REMOTE}/corpus")
        stage = f"{REMOTE}/stage"
        config = write_config(
            sources=[{"name": "docs", "files": [f"{REMOTE}/corpus"], "metadata_fields": ["number"]}], execution={"stage": stage}
        )
        assert build(config, tmp_path / "reference") == 0
        files.remove_tree(stage)
        monkeypatch.setattr(gcs, "read", flipping)
        assert build(config, tmp_path / "dataset") == 1
        assert flipped
        message = capsys.readouterr().err
        assert "docs: plain.jsonl (crc32c" in message and "Run the same command again" in message
        assert not (tmp_path / "dataset/manifest.json").exists()
        assert "plain.jsonl" not in contents_of(stage), "the stage files that hold it are removed"
        assert build(config, tmp_path / "dataset") == 0
        assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "reference")
