"""Models that learn from datasets of tokenreel: each program makes its data, trains, and ends with the number that it is about.

Keras runs on JAX here unless `KERAS_BACKEND` names another backend.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
