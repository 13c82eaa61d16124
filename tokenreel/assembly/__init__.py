"""Plans to shards, provenance, statistics and the manifest.

A plan and stage files come in, a finished dataset goes out, after a check that nothing was lost. It never decides an order or a layout.
"""

from tokenreel.assembly.finishing import finish as finish
from tokenreel.assembly.output import prepare as prepare
from tokenreel.assembly.shard_building import BuiltShard as BuiltShard
from tokenreel.assembly.shard_building import build_shard as build_shard
