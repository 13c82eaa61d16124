"""SeqIO's tasks in NumPy: `import tokenreel.tasks as seqio`.

What SeqIO exports stands here under its own name. TensorFlow is imported where a task holds a step of `tf.data`, and nowhere else.
"""

from tokenreel.tasks.example_stream import ExampleStream as ExampleStream
from tokenreel.tasks.features import ContinuousFeature as ContinuousFeature
from tokenreel.tasks.features import Feature as Feature
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor as numpy_preprocessor
