"""The settings of a filter by scores that a model gave to documents.

Tested in tests/tokenreel/curation/test_scores.py.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from tokenreel.config.parsing import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Which documents a build takes by their scores: such as the mean log-probability of their tokens.

    Attributes:
      files: directories that `tokenreel extract-features` wrote, or Parquet files with the columns `doc_id` and `score`, and perhaps
        `source`.
      min: documents of lower scores are left out.
      max: documents of higher scores are left out.
      missing: what becomes of documents without a score: `error` ends the build, `keep` and `drop` do what they say.
    """

    files: tuple[str, ...]
    min: float | None = None
    max: float | None = None
    missing: Literal["error", "keep", "drop"] = "error"

    def __post_init__(self) -> None:
        require(bool(self.files), "filters.scores.files names no file: give directories of features, or Parquet files")
        require(self.min is not None or self.max is not None, "filters.scores: give min, max or both")
        require(
            self.min is None or self.max is None or self.max >= self.min,
            f"filters.scores.max ({self.max}) is below filters.scores.min ({self.min}): nothing would be left",
        )
