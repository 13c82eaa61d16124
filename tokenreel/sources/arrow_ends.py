"""Arrow streams that end without their mark: whole, as far as their bytes tell, unless a description beside them counts more rows."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence

from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.readers import arrow
from tokenreel.storage import files
from tokenreel.wording import plural


def check(source: SourceConfig, found: Sequence[InputFile], note: Callable[[str], None]) -> None:
    """Looks at the ends of a source's local Arrow files.

    A stream that was cut between two batches looks like one whose writer left out the mark of the end, as some do.

    Args:
      source: the settings of the source; those of other formats are not looked at.
      found: its files.
      note: told how many end without a mark.

    Raises:
      SourceError: the `dataset_info.json` beside such files counts more rows than they hold.
    """
    if source.format != "arrow":
        return
    local = [file for file in found if not files.is_remote(file.path)]
    unmarked = [file for file in local if arrow.lacks_end_mark(file)]
    if not unmarked:
        return
    for folder in dict.fromkeys(os.path.dirname(file.path) for file in unmarked):
        _check_rows(folder, [file for file in local if os.path.dirname(file.path) == folder])
    verb = "ends" if len(unmarked) == 1 else "end"
    note(
        f"{plural(len(unmarked), 'file')} of source {source.name!r} {verb} without the mark of an Arrow stream's end, such as "
        f"{unmarked[0].path}: read as whole, though files that were cut between two batches end so too"
    )


def _check_rows(folder: str, found: Sequence[InputFile]) -> None:
    """Compares the rows of a folder's files with those that `datasets` wrote there.

    Raises:
      SourceError: there are fewer.
    """
    splits = _read_json(os.path.join(folder, "dataset_info.json")).get("splits")
    if not isinstance(splits, dict):
        return
    saved = _read_json(os.path.join(folder, "state.json")).get("_split")
    by_split: dict[str, list[InputFile]] = defaultdict(list)
    for file in found:
        name = os.path.basename(file.path)
        named = [split for split in splits if f"-{split}.arrow" in name or f"-{split}-0" in name]
        split = saved or (named[0] if named else next(iter(splits)) if len(splits) == 1 else None)
        if split is not None:
            by_split[str(split)].append(file)
    for split, members in by_split.items():
        described = splits.get(split)
        counted = described.get("num_examples") if isinstance(described, dict) else None
        rows = sum(map(arrow.count_rows, members))
        if isinstance(counted, int) and rows < counted:
            raise SourceError(
                f"{members[0].path}: {plural(len(members), 'file')} of the split {split!r} hold {rows:,} rows, dataset_info.json counts "
                f"{counted:,}: the rest was cut off. Fetch the folder again."
            )


def _read_json(path: str) -> dict[str, object]:
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
