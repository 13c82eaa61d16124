"""Tasks to datasets: the rows that a feature converter makes of the examples of a task or mixture, as shards of records.

Tasks come in; their examples are staged as those of a cache are, divided among rows in the order in which `get_dataset` gives them, and
converted shard by shard, and a dataset as any other goes out. It never decides what a row is: that is the converter's.
"""

from tokenreel.converting.row_job import RowJob as RowJob
