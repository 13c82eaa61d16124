"""Tasks to caches: the examples that their steps before the placeholder make, once, as shards of records.

Tasks come in; their examples are staged unit by unit, laid in an order of their own keys, cut into shards and named in a
manifest, and caches go out; of a mixture, the order in which it draws from them. It never decides what an example is: that is the task's.
"""

from tokenreel.caching.cache_job import CacheJob as CacheJob
from tokenreel.caching.cache_job import TaskCache as TaskCache
