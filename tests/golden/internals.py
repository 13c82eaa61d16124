"""All that the golden tests use beyond the commands and `tokenreel.load`: what a build knows before its first worker starts.

A module that is renamed is renamed here and nowhere else. What the functions return is pinned.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from tokenreel.config.build import JobConfig
from tokenreel.config.reading import load_as
from tokenreel.curation.inputs import list_inputs
from tokenreel.planning.identity import algorithms, identity
from tokenreel.planning.recipe import make_recipe
from tokenreel.vocabularies.loading import load_vocabulary


def resolve(config: str, settings: Sequence[str], files: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a config as a build does, and says what decides the bytes of its dataset.

    Args:
      config: path of the YAML file.
      settings: overrides, as `--set` takes them.
      files: text to read in place of the config's; without any, `build` is that of a build that reads nothing.

    Returns:
      `semantics` (the settings in the manifest and in the fingerprint), `seed`, `algorithms`, `features` of a record, and `build`, the
      digest that tells a build from another.
    """
    text = pathlib.Path(config).read_text(encoding="utf-8")
    job = load_as(JobConfig, text, settings, name=config, input=list(files) or None)
    recipe = make_recipe(job, load_vocabulary(job.vocabulary.kind, job.vocabulary.path, **job.vocabulary.options))
    return {
        "semantics": job.semantics(),
        "seed": job.seed,
        "algorithms": algorithms(recipe),
        "features": [dataclasses.asdict(feature) for feature in recipe.features],
        "build": identity(recipe, list_inputs(job) if files else {}),
    }
