"""The total order of documents, the splits and repeats, and which shard holds what.

Counts and lengths from stage files come in, plans of integers go out. It never plans by a token, or by who made the stage files: the same
text and seed give the same plan.
"""

from tokenreel.planning.document_order import DocumentOrder as DocumentOrder
from tokenreel.planning.recipe import Recipe as Recipe
from tokenreel.planning.recipe import make_recipe as make_recipe
from tokenreel.planning.shard_plan import ShardPlan as ShardPlan
from tokenreel.planning.shard_plan import SplitPlan as SplitPlan
from tokenreel.planning.shard_plan import plan_all as plan_all
