"""A sample of a corpus, a tokenizer trained on it, and a report on that.

Documents of a block come in, candidates, a sample that is the same on every runner, a model and a report go out. It never trains on what is
outside the sample: the report is measured there.
"""

from tokenreel.tokenizer_training.output import finish as finish
from tokenreel.tokenizer_training.sample_files import Sample as Sample
from tokenreel.tokenizer_training.sample_plan import SamplePlan as SamplePlan
from tokenreel.tokenizer_training.sentencepiece_training import train_sentencepiece as train_sentencepiece
