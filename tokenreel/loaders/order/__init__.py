"""The order in which a run sees examples: integers in, integers out, no file and no state.

Read it in this order. `permutation` shuffles the integers below n by a key, one by one and in both directions: an epoch. `lanes` does so by
blocks, for data across a network. `stages` says how many samples of a mixture come from which dataset. `skips` leaves ranges of a stream
out. `plan` puts them together: sample g of a run is which example of which dataset, and back.

It never reads data. All of it is frozen: a run that resumes relies on every value (`tests/golden/order.json`, `plan.ORDER_VERSION`).
"""

from tokenreel.loaders.order.lanes import LaneOrder as LaneOrder
from tokenreel.loaders.order.lanes import Lanes as Lanes
from tokenreel.loaders.order.permutation import Permutation as Permutation
from tokenreel.loaders.order.plan import ORDER_VERSION as ORDER_VERSION
from tokenreel.loaders.order.plan import Located as Located
from tokenreel.loaders.order.plan import Plan as Plan
from tokenreel.loaders.order.skips import SkippedRanges as SkippedRanges
from tokenreel.loaders.order.stages import MixtureStage as MixtureStage
