from __future__ import annotations

import pathlib

import numpy as np
import pytest

from tests.documents import documents
from tokenreel.config.corpus import FilterConfig, LineRules
from tokenreel.curation import filters
from tokenreel.curation.cleaned import Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.sources.inputs import Block
from tokenreel.staging import encoding, stage_file
from tokenreel.vocabularies.loading import load_vocabulary

BLOCK = Block(0, 3, ())
RULES = Rules(FilterConfig(lines=LineRules(drop_phrases=("menu",)), max_characters=12, max_tokens=10))


def write(path: pathlib.Path, *, hashed: bool) -> stage_file.StageInfo:
    found = documents("menu\none", "", "two", "menu", "one", "far too long for this", "one", "11 bytes ...")
    cleaned = filters.clean(Cleaned.of(found), RULES)
    arrays, cleaned = encoding.encode(cleaned, load_vocabulary("bytes", None), RULES, hashed=hashed)
    return stage_file.write(str(path), BLOCK, 0, True, cleaned, arrays, "uint16")


@pytest.mark.parametrize("hashed", [False, True])
def test_a_stage_file_reads_back_as_it_was_written(tmp_path: pathlib.Path, hashed: bool) -> None:
    written = write(tmp_path / "x.stage", hashed=hashed)
    assert stage_file.reopen(str(tmp_path / "x.stage"), BLOCK) == written
    assert written.filtered == {"empty": 1, "no_line_left": 1, "too_many_characters": 1, "too_many_tokens": 1}
    assert (written.lines_removed, written.characters_removed) == ({"line_with_phrase": 2}, len("menu\n") + len("menu"))
    assert (written.documents, written.tokens, written.modified) == (4, 12, 1)
    assert (written.hashes, written.repeats) == ((2, 2) if hashed else (0, 0))
    if hashed:
        table = stage_file.hash_table(written)
        kept = set(table.between(0, 1 << 64)[:, 3].tolist())
        assert kept | set(table.read_repeats().tolist()) == set(range(4))
        tokens, offsets = (stage_file.StageFile(written).read(name) for name in ("tokens", "token_offset"))
        assert {bytes(np.array(tokens[offsets[i] : offsets[i + 1]]).astype(np.uint8) - 3) for i in kept} == {b"one", b"two"}
