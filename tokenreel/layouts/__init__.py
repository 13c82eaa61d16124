"""From lengths to examples: which tokens of which document stand where.

Lengths of documents (and, to copy them, tokens) come in, a `Layout` and arrays of examples go out. It never reads a file or asks a
vocabulary, and draws at random for the pairs of `segment_pairs` alone.
"""

from tokenreel.layouts.bin_packing import best_fit as best_fit
from tokenreel.layouts.bin_packing import first_fit as first_fit
from tokenreel.layouts.bin_packing import next_fit as next_fit
from tokenreel.layouts.filling import fill as fill
from tokenreel.layouts.filling import frame as frame
from tokenreel.layouts.modes import MODES as MODES
from tokenreel.layouts.modes import check as check
from tokenreel.layouts.modes import lay_out as lay_out
from tokenreel.layouts.one_document import buckets as buckets
from tokenreel.layouts.one_document import pad as pad
from tokenreel.layouts.table import Layout as Layout
from tokenreel.layouts.wrapping import wrap as wrap
