"""Composed character models. Keras runs on JAX here unless `KERAS_BACKEND` names another backend."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
