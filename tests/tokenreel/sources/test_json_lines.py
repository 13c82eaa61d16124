from __future__ import annotations

import json
import pathlib

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.documents import Documents
from tokenreel.sources.reading import read_documents


def nested(depth: int, value: str = "0") -> str:
    return '{"a": [' * (depth // 2) + "[" * (depth % 2) + value + "]" * (depth % 2) + "]}" * (depth // 2)


def test_how_deep_fields_may_be_nested_is_a_rule_of_the_data(tmp_path: pathlib.Path) -> None:
    """And not of the stack of the runner, which Python's own limit counts in: other workers would leave other documents out."""
    brackets = '"' + "[{" * 300 + '\\"' + "[" * 300 + '"'  # text is no nesting
    depths = {199: "kept", 200: "bad_metadata", 900: "bad_metadata", 975: "bad_metadata", 1020: "bad_metadata"}  # one is the record's own
    lines = [f'{{"text": "a", "kept": {nested(depth)}}}' for depth in depths]
    lines += [f'{{"text": "a", "kept": {nested(199, brackets)}}}', f'{{"text": "a", "other": {nested(1000)}}}']
    lines += [f'{{"text": "a", "other": {nested(199, "NaN")}}}', f'{{"text": "a", "other": {nested(200, "NaN")}}}', "[" * 200_000]
    expected = [*depths.values(), "kept", "kept", "kept", "invalid_json", "invalid_json"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = SourceConfig(files=(str(tmp_path),), metadata_fields=("kept",))
    (block,) = list_blocks(source, 0, 1 << 20)

    def at_depth(depth: int) -> list[Documents]:
        return list(read_documents(block, source, 1 << 20)) if depth == 0 else at_depth(depth - 1)

    for depth in (0, 400):
        (found,) = at_depth(depth)
        reasons = {fault.line: fault.reason for fault in found.faults}
        assert [reasons.get(line + 1, "kept") for line in range(len(lines))] == expected
        assert found.metadata is not None
        assert json.loads(found.metadata[0])["kept"] == json.loads(nested(199))
        assert json.loads(found.metadata[1])["kept"] == json.loads(nested(199, brackets))
