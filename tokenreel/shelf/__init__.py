"""Vocabularies, configs, models and small datasets under names, in a folder or a bucket.

Files and names come in, unpacked folders go out whose every byte was compared. It never knows what the files mean, and writes nothing
outside of the shelf, the cache and the lock file that it was given.
"""

from tokenreel.shelf.bundle import Bundle as Bundle
from tokenreel.shelf.shelf import Shelf as Shelf
from tokenreel.shelf.shelf import Tag as Tag
