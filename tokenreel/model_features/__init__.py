"""Features of examples: what a model says of a dataset, by the numbers of the examples.

Fields of a dataset come in, as a loader gives them; what a model reads and predicts of them, its log-probabilities, largest logits and
intermediate outputs go out, and are read again beside the dataset. It never decides which examples there are, nor trains a model.
"""

from tokenreel.format.features import FeatureSpec as FeatureSpec
from tokenreel.format.features import FeatureStore as FeatureStore
