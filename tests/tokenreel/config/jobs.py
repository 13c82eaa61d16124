"""Configs that tests change in one place."""

from __future__ import annotations

from tokenreel.config import parsing
from tokenreel.config.build import JobConfig

TEXT = """
output: out
sources: [{files: [a.jsonl], name: first}, {files: b.txt, name: second, format: lines}]
vocabulary: {kind: bytes}
splits: {validation: 0.5%, test: 0.01}
"""


def job(*sources: dict[str, object], **settings: object) -> JobConfig:
    named = [{"files": ["a"], "name": f"s{i}", **source} for i, source in enumerate(sources)]
    return parsing.from_dict(JobConfig, {"output": "o", "vocabulary": {"kind": "bytes"}, "sources": named, **settings})
