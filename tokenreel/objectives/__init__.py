"""From examples to what a model reads and predicts.

Arrays of examples, their ids and a seed come in; inputs, targets, masks and weights of fixed sizes go out. It never depends on the order of
examples, on the worker or on the time: every draw is keyed by the example.
"""

from tokenreel.objectives.base import Objective as Objective
from tokenreel.objectives.registry import OBJECTIVES as OBJECTIVES
from tokenreel.objectives.registry import add_statistics as add_statistics
from tokenreel.objectives.registry import check_sentinels as check_sentinels
from tokenreel.objectives.registry import make_objective as make_objective
from tokenreel.objectives.registry import needed_facts as needed_facts
