"""SeqIO's tasks in NumPy: `import tokenreel.tasks as seqio`.

Sources, steps and the features that they must give come in; examples and batches for trainers, and the scores of models on them, go out.
What SeqIO exports stands here under its own name. TensorFlow is imported where a task holds a step of `tf.data`, and never otherwise.
"""

from tokenreel.tasks import metrics as metrics
from tokenreel.tasks import preprocessors as preprocessors
from tokenreel.tasks.data_sources import DataSource as DataSource
from tokenreel.tasks.data_sources import FileDataSource as FileDataSource
from tokenreel.tasks.data_sources import FunctionDataSource as FunctionDataSource
from tokenreel.tasks.data_sources import JsonLinesDataSource as JsonLinesDataSource
from tokenreel.tasks.data_sources import ParquetDataSource as ParquetDataSource
from tokenreel.tasks.data_sources import ProtoDataSource as ProtoDataSource
from tokenreel.tasks.data_sources import TextLineDataSource as TextLineDataSource
from tokenreel.tasks.data_sources import TFExampleDataSource as TFExampleDataSource
from tokenreel.tasks.example_stream import ExampleStream as ExampleStream
from tokenreel.tasks.feature_converters import DecoderFeatureConverter as DecoderFeatureConverter
from tokenreel.tasks.feature_converters import EncDecFeatureConverter as EncDecFeatureConverter
from tokenreel.tasks.feature_converters import EncoderFeatureConverter as EncoderFeatureConverter
from tokenreel.tasks.feature_converters import FeatureConverter as FeatureConverter
from tokenreel.tasks.feature_converters import LMFeatureConverter as LMFeatureConverter
from tokenreel.tasks.feature_converters import PassThroughFeatureConverter as PassThroughFeatureConverter
from tokenreel.tasks.feature_converters import PrefixLMFeatureConverter as PrefixLMFeatureConverter
from tokenreel.tasks.feature_converters import PrefixSuffixLMFeatureConverter as PrefixSuffixLMFeatureConverter
from tokenreel.tasks.feature_converters import PrePackedEncDecFeatureConverter as PrePackedEncDecFeatureConverter
from tokenreel.tasks.feature_converters import PrePackedLMFeatureConverter as PrePackedLMFeatureConverter
from tokenreel.tasks.feature_converters import PrePackedPrefixLMFeatureConverter as PrePackedPrefixLMFeatureConverter
from tokenreel.tasks.features import ContinuousFeature as ContinuousFeature
from tokenreel.tasks.features import Feature as Feature
from tokenreel.tasks.loggers import JSONLogger as JSONLogger
from tokenreel.tasks.loggers import Logger as Logger
from tokenreel.tasks.loggers import PyLoggingLogger as PyLoggingLogger
from tokenreel.tasks.loggers import TensorAndNumpyEncoder as TensorAndNumpyEncoder
from tokenreel.tasks.loggers import TensorBoardLogger as TensorBoardLogger
from tokenreel.tasks.loggers import TensorBoardLoggerV1 as TensorBoardLoggerV1
from tokenreel.tasks.map_over_dataset import map_examples as map_examples
from tokenreel.tasks.map_over_dataset import map_over_dataset as map_over_dataset
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor as numpy_preprocessor
from tokenreel.tasks.providers import DatasetProviderBase as DatasetProviderBase
from tokenreel.tasks.providers import DatasetProviderRegistry as DatasetProviderRegistry
from tokenreel.tasks.providers import ShardInfo as ShardInfo
from tokenreel.tasks.step_seeds import map_seed_manager as map_seed_manager
from tokenreel.tasks.tfds_source import TfdsDataSource as TfdsDataSource
from tokenreel.tasks.tfds_source import TfdsSplit as TfdsSplit
from tokenreel.tasks.vocabularies import BertWordPieceVocabulary as BertWordPieceVocabulary
from tokenreel.tasks.vocabularies import ByteVocabulary as ByteVocabulary
from tokenreel.tasks.vocabularies import FullCodepointVocabulary as FullCodepointVocabulary
from tokenreel.tasks.vocabularies import PartialCodepointVocabulary as PartialCodepointVocabulary
from tokenreel.tasks.vocabularies import PassThroughVocabulary as PassThroughVocabulary
from tokenreel.tasks.vocabularies import SentencePieceVocabulary as SentencePieceVocabulary
from tokenreel.tasks.vocabularies import UnigramVocabulary as UnigramVocabulary
from tokenreel.tasks.vocabularies import Vocabulary as Vocabulary
