"""Datasets to features: what a model says of each example, as shards of records, and of each document, as tables.

A dataset and a model come in; ranges of examples are shown to the model, each written as a shard, documents are scored through the
dataset's provenance tables, and a directory of features goes out. It never decides what a model says: that is `model_features`.
"""

from tokenreel.extracting.feature_job import FeatureJob as FeatureJob
