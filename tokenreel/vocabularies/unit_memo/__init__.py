"""Encodes text by looking up its parts.

Blocks of text come in, and the ids that the library would give go out: a block is cut into units, units that were seen before are looked
up in a table, and new ones are encoded by compiled loops (`kernels`). It never changes an id, whatever the table holds, and never takes
more memory than it was given.
"""
