"""SeqIO's vocabularies by name and ids, without TensorFlow where none of its tensors is asked for."""

from tokenreel.tasks.vocabularies.base import PAD_ID as PAD_ID
from tokenreel.tasks.vocabularies.base import Vocabulary as Vocabulary
from tokenreel.tasks.vocabularies.byte_level import ByteVocabulary as ByteVocabulary
from tokenreel.tasks.vocabularies.codepoints import FullCodepointVocabulary as FullCodepointVocabulary
from tokenreel.tasks.vocabularies.codepoints import PartialCodepointVocabulary as PartialCodepointVocabulary
from tokenreel.tasks.vocabularies.pass_through import PassThroughVocabulary as PassThroughVocabulary
from tokenreel.tasks.vocabularies.sentencepiece import SentencePieceVocabulary as SentencePieceVocabulary
from tokenreel.tasks.vocabularies.unigrams import UnigramVocabulary as UnigramVocabulary
from tokenreel.tasks.vocabularies.word_pieces import BertWordPieceVocabulary as BertWordPieceVocabulary
