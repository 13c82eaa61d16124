"""A run made again from its saved state, without the settings it was started with.

Tested in tests/tokenreel/commands/test_run_arguments.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenreel.errors import ManifestError
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.examples import Examples
from tokenreel.loaders.order.lanes import Lanes
from tokenreel.loaders.order.plan import Plan
from tokenreel.loaders.order.stages import MixtureStage
from tokenreel.loaders.reader import Source
from tokenreel.loaders.run_options import RunOptions


def from_state(datasets: Mapping[str, Examples], state: Mapping[str, Any], batch_size: int) -> Batches:
    """Makes the batches of a run again from its saved state and its data, without its settings.

    Args:
      datasets: by their names in the mixture; a run of one dataset has the name "".
      state: from `Batches.get_state`.
      batch_size: rows of the global batch.

    Returns:
      batches that stand where the run stood, with all stored features, and without the run's end.

    Raises:
      ManifestError: the state is malformed or of another version, or of other data.
    """
    try:
        mixture = state["mixture"]
        names = [entry["name"] for entry in mixture["sources"]]
        shuffle = mixture["shuffle"]
        plan = Plan(
            names,
            [entry["examples"] for entry in mixture["sources"]],
            seed=state["seed"],
            shuffle=Lanes(**shuffle) if isinstance(shuffle, Mapping) else bool(shuffle),
            stages=[MixtureStage(start=stage["start"], weights=tuple(stage["weights"])) for stage in mixture["stages"]],
            skip=[(start, end) for start, end in state["skip"]],
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ManifestError(f"the loader state is malformed ({error!r}). Save it as JSON, as `get_state` gives it.") from error
    if set(names) != set(datasets):
        raise ManifestError(f"the run read the sources {names}, given are {list(datasets)}. Give each as NAME=DIRECTORY.")
    for name in names:
        datasets[name].records.prepare(plan.shuffle)
    options = RunOptions(batch_size=batch_size, seed=plan.seed, drop_remainder=False, prefetch=0)
    batches = Batches([Source(datasets[name], options, name) for name in names], plan, options)
    batches.set_state(state)
    return batches
