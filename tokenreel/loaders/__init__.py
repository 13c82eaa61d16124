"""Datasets to batches, in a trainer.

A path, a batch size and a seed come in; batches of NumPy arrays, and a state of one integer, go out. It never needs more than NumPy: each
framework's adapter is a module of its own, which imports the framework when it is called.
"""

from tokenreel.loaders.batches import Batches as Batches
from tokenreel.loaders.dataset import Dataset as Dataset
from tokenreel.loaders.mixture import Mixture as Mixture
from tokenreel.loaders.opening import load as load
from tokenreel.loaders.order.lanes import Lanes as Lanes
