"""Reads a source as a build does, and says what came out."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.fault_log import Fault
from tokenreel.sources.reading import read_documents


@dataclasses.dataclass
class Read:
    """What a source holds by (file, position), and what could not be read, with lines counted from the file's start."""

    texts: dict[tuple[str, int], str]
    keys: dict[tuple[str, int], int]
    ids: dict[tuple[str, int], str]
    metadata: dict[tuple[str, int], Any]
    sort_value: dict[tuple[str, int], int]
    faults: list[Fault]
    blocks: int
    parts: int

    @property
    def values(self) -> list[str]:
        return list(self.texts.values())

    @property
    def reasons(self) -> list[str]:
        return [fault.reason for fault in self.faults]


def read(path: pathlib.Path | str, kind: str, block_bytes: int = 1 << 20, **settings: Any) -> Read:
    source = SourceConfig(files=(str(path),), format=kind, **settings)  # type: ignore[arg-type]
    found = Read({}, {}, {}, {}, {}, [], 0, 0)
    lines: dict[str, int] = {}
    for block in list_blocks(source, 0, block_bytes):
        found.blocks += 1
        for part in read_documents(block, source, block_bytes):
            found.parts += 1
            assert all(len(some) == len(part) for some in (part.file, part.key, part.offsets[1:]))
            for some, wanted in (
                (part.ids, source.id_field),
                (part.sort_value, source.order_field),
                (part.metadata, source.metadata_fields),
            ):
                assert (len(some) == len(part)) if wanted else some is None
            for i in range(len(part)):
                place = (part.files[part.file[i]], int(part.position[i]))
                assert place not in found.texts
                found.texts[place] = part.text[part.offsets[i] : part.offsets[i + 1]].tobytes().decode()
                found.keys[place] = int(part.key[i])
                if part.ids is not None:
                    found.ids[place] = part.ids[i]
                if part.sort_value is not None:
                    found.sort_value[place] = int(part.sort_value[i])
                if part.metadata is not None:
                    found.metadata[place] = json.loads(part.metadata[i])
            found.faults += [dataclasses.replace(fault, line=fault.line + lines.get(fault.file, 0)) for fault in part.faults]
            for name, count in zip(part.files, part.lines, strict=True):
                lines[name] = lines.get(name, 0) + count
    return found
