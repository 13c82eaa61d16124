"""Random access to the records of one split, wherever they lie.

Numbers of examples come in, the bytes of their records (or slices of them) go out, checked as the CRC policy says. From memory maps
(`mapped`), by positioned reads (`positioned`), by ranges of a bucket (`remote`), or from a local copy of whole shards (`shard_cache`). It
never interprets what a record holds beyond its frame and its example id.
"""

from tokenreel.loaders.records.base import FieldSlice as FieldSlice
from tokenreel.loaders.records.base import Records as Records
from tokenreel.loaders.records.build_watch import BuildWatch as BuildWatch
from tokenreel.loaders.records.mapped import MappedRecords as MappedRecords
from tokenreel.loaders.records.positioned import PositionedRecords as PositionedRecords
from tokenreel.loaders.records.remote import RemoteRecords as RemoteRecords
from tokenreel.loaders.records.shard_cache import ShardCache as ShardCache
