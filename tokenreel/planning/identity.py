"""What makes a build the same build: its settings, inputs, vocabulary and the versions of its parts.

Tested in tests/test_golden_datasets.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenreel import keys
from tokenreel.curation import filters
from tokenreel.layouts import modes
from tokenreel.planning import selection
from tokenreel.planning.recipe import Recipe
from tokenreel.staging.identity import VERSION
from tokenreel.vocabularies import huggingface
from tokenreel.vocabularies.ranks import vocabulary as ranks
from tokenreel.vocabularies.sentencepiece import sampler

_VOCABULARIES = {"huggingface": huggingface.VERSION, "tiktoken": ranks.VERSION}  # kinds that find special ids by rules


def algorithms(recipe: Recipe) -> dict[str, str]:
    """Names the version of each algorithm that the bytes of a dataset depend on."""
    objective = f"{recipe.objective.name}-{recipe.objective.version}"
    even = recipe.objective.varies_length and not recipe.packing.cuts_stream
    versions = {
        "filters": filters.VERSION,
        "keys": keys.VERSION,
        "objective": objective,
        "packing": modes.EVEN_VERSION if even else modes.VERSION,
        "selection": selection.VERSION,
        "stage": VERSION,
    }
    if recipe.config.vocabulary.sampling is not None:
        versions["sampling"] = sampler.VERSION  # only there: datasets from before sampling keep their identity
    if recipe.config.vocabulary.kind in _VOCABULARIES:
        versions["vocabulary"] = _VOCABULARIES[recipe.config.vocabulary.kind]
    return versions


def identity(recipe: Recipe, inputs: Mapping[str, Any]) -> str:
    """Digests everything that decides the bytes of a dataset: builds of one identity may go on with each other's files."""
    config = recipe.config
    parts = [config.semantics(), config.seed, recipe.vocabulary.fingerprint, algorithms(recipe), inputs]
    if config.vocabulary.kind in _VOCABULARIES:  # files beside it may name other special ids than before
        parts.append(recipe.vocabulary.options)
    return keys.digest(json.dumps(parts, sort_keys=True))
