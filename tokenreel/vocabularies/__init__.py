"""Text to token ids and back.

Text comes in, as blocks of UTF-8 with offsets, and the ids that the vocabulary's own library would give go out, only sooner. It never reads
a corpus, and never changes an id.
"""

from tokenreel.vocabularies.base import Vocabulary as Vocabulary
from tokenreel.vocabularies.loading import load_vocabulary as load_vocabulary
