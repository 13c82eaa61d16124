from __future__ import annotations

import pathlib
import pickle

from tokenreel.config.corpus import SourceConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation.filters import Rules
from tokenreel.sources.blocks import list_blocks
from tokenreel.tokenizer_training import sample_files, sample_plan
from transforms.sample_documents import _MeasureBlock


def test_no_text_passes_through_the_runner(tmp_path: pathlib.Path) -> None:
    """All text is sampled, and goes to a file; for each document the runner gets a bucket and a number, and for the block two rows."""
    (tmp_path / "text").write_text("".join(f"{i} {'word ' * 200}\n" for i in range(1000)))
    source = SourceConfig(files=(str(tmp_path / "text"),), format="lines")
    config = TokenizerJobConfig(output=str(tmp_path / "out"), sources=(source,))
    work = Workspace.of(config, "build")
    (block,) = list_blocks(source, 0, 1 << 24)
    emitted = list(_MeasureBlock(config, [Rules()], work, [sample_plan.BUCKETS]).process(block))
    assert len(emitted) == 3
    assert len(pickle.dumps(emitted)) < 20_000
    (part,) = pathlib.Path(work.sample.path).iterdir()
    assert part.stat().st_size > 1_000_000


def test_a_block_read_twice_writes_the_same_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "text").write_text("".join(f"{i}\n" for i in range(1000)))
    source = SourceConfig(files=(str(tmp_path / "text"),), format="lines")
    config = TokenizerJobConfig(output=str(tmp_path / "out"), sources=(source,))
    work = Workspace.of(config, "build")
    (block,) = list_blocks(source, 0, 1 << 24)
    contents = []
    for _ in range(2):
        list(_MeasureBlock(config, [Rules()], work, [30_000]).process(block))
        contents.append({path.name: path.read_bytes() for path in pathlib.Path(work.sample.path).iterdir()})
    assert contents[0] == contents[1] and len(contents[0]) == 1
    (path,) = pathlib.Path(work.sample.path).iterdir()
    found = sample_files.read_candidates(str(path))
    assert 350 < len(found.hashes) < 550 and (found.hashes[1:] > found.hashes[:-1]).all()
    assert len(sample_files.read_candidates(str(path), 1000).hashes) < 40
