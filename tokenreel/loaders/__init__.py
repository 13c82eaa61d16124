"""Reading datasets in a trainer. NumPy alone at module level; each framework's adapter is a module of its own."""

from tokenreel.loaders.batches import Batches
from tokenreel.loaders.dataset import Dataset
from tokenreel.loaders.mixture import Mixture
from tokenreel.loaders.opening import load
from tokenreel.loaders.order.lanes import Lanes

__all__ = ["Batches", "Dataset", "Lanes", "Mixture", "load"]
