"""The contract: what a dataset is, byte for byte.

Arrays and descriptions come in, records, names, manifests and provenance tables go out, and the other way round. It never decides which
document stands where, and reads no raw text.
"""

from tokenreel.format import naming as naming
from tokenreel.format import segments as segments
from tokenreel.format import token_spans as token_spans
from tokenreel.format.manifest import Manifest as Manifest
from tokenreel.format.manifest import ShardInfo as ShardInfo
from tokenreel.format.manifest import SplitInfo as SplitInfo
from tokenreel.format.manifest import VocabularyInfo as VocabularyInfo
from tokenreel.format.schema import Feature as Feature
from tokenreel.format.schema import RecordFormat as RecordFormat
