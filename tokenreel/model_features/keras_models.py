"""Keras models as they are run here: loaded, taken apart by the names of their layers, and called on fixed batches.

Keras is imported inside of functions, after `prepare` has said which backend it gets and with how many threads.

Tested in tests/tokenreel/model_features/test_extractor.py and tests/models/test_keras_hub.py.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.storage import files

_TASK = "task.json"  # of a preset whose weights have a head
OUTPUT = "output"
_COPIED_BYTES = 16 << 20  # at a time: a model may be larger than the memory beside it
# Variables of the environment that bound the threads of a framework; each is read once, when the framework starts.
_THREADS = ("PJRT_NPROC", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def prepare(backend: str, threads: int) -> None:
    """Chooses the backend of Keras, and the threads of its arithmetic, for this process.

    Raises:
      ConfigError: Keras runs on another backend already.
    """
    imported = sys.modules.get("keras")
    if imported is not None and imported.config.backend() != backend:
        raise ConfigError(
            f"model.backend: this process runs Keras on {imported.config.backend()} already, and {backend} is asked for. Set "
            f"model.backend: {imported.config.backend()}, or run the command in a process of its own."
        )
    os.environ["KERAS_BACKEND"] = backend
    for name in _THREADS:
        os.environ[name] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    if threads == 1:  # Eigen's pool beside XLA's own
        flags = os.environ.get("XLA_FLAGS", "")
        if "xla_cpu_multi_thread_eigen" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    if backend == "torch":
        import torch

        torch.set_num_threads(threads)


def digest(path: str) -> str:
    """Digests the files of a model, by their names and contents.

    Raises:
      ConfigError: there is none.
    """
    names = sorted(files.list_files(path)) if not path.endswith(".keras") else [""]
    try:
        parts = [part for name in names for part in (name, keys.digest(files.read_bytes(files.join(path, name) if name else path)))]
    except OSError as error:
        raise ConfigError(f"model.path: {path} cannot be read ({error.strerror or error})") from error
    if not parts:
        raise ConfigError(
            f"model.path: {path} is no file and no directory with files. Name a preset directory of keras-hub or a .keras file"
        )
    return keys.digest(*parts)


def load(path: str | None = None, build: str | Callable[..., Any] | None = None, arguments: Mapping[str, Any] | None = None) -> Any:
    """Loads a model.

    Args:
      path: a preset directory of keras-hub, with the head where its weights have one, or a saved `.keras` file.
      build: `module:function` that returns a model, or the function.
      arguments: of that function.

    Raises:
      ConfigError: there is no such model, or what is there is none.
    """
    import keras

    if build is not None:
        made = (find_function(build) if isinstance(build, str) else build)(**(arguments or {}))
        if not isinstance(made, keras.Model):
            raise ConfigError(f"model.build {build}: must return a keras.Model, got {type(made).__name__}")
        return made
    assert path is not None
    try:
        if not files.is_remote(path):
            return _load_files(path)
        with tempfile.TemporaryDirectory() as folder:
            return _load_files(_fetch(path, folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = str(error).strip().splitlines()[0][:400] if str(error).strip() else type(error).__name__
        raise ConfigError(f"model.path: {path} cannot be loaded: {what}") from error


def find_function(name: str) -> Callable[..., Any]:
    """Finds the function that `module:function` names, also in the working directory.

    Raises:
      ConfigError: there is none.
    """
    module, _, function = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise ConfigError(f"model.build {name}: cannot be imported ({type(error).__name__}: {error})") from error
    if not callable(found):
        raise ConfigError(f"model.build {name}: is no function")
    return found  # type: ignore[no-any-return]


def _fetch(path: str, folder: str) -> str:
    """Copies the files of a model from a bucket to a folder, and says where they lie."""
    names = {"": os.path.basename(path)} if path.endswith(".keras") else {name: name for name in files.list_files(path)}
    for name, target in names.items():
        local = os.path.join(folder, target)
        os.makedirs(os.path.dirname(local), exist_ok=True)
        with files.open_read(files.join(path, name) if name else path) as source, open(local, "wb") as file:
            shutil.copyfileobj(source, file, _COPIED_BYTES)
    return os.path.join(folder, names[""]) if "" in names else folder


def _load_files(path: str) -> Any:
    import keras

    if not os.path.isdir(path):
        with suppress(ModuleNotFoundError):
            import keras_hub  # type: ignore[import-not-found]  # its layers may be in the file
        return keras.saving.load_model(path, compile=False)
    try:
        import keras_hub
    except ModuleNotFoundError as error:
        raise ConfigError(f"model.path: {path} is a preset directory, which needs keras-hub: pip install tokenreel[keras-hub]") from error
    task = os.path.join(path, _TASK)
    if not os.path.exists(task):
        return keras_hub.models.Backbone.from_preset(path)
    with open(task, encoding="utf-8") as file:
        name = json.load(file)["class_name"]
    return getattr(keras_hub.models, name).from_preset(path, preprocessor=None)


def is_of_keras_hub(model: Any) -> bool:
    """Says whether the class of a model is one of keras-hub."""
    return any(each.__module__.split(".")[0] == "keras_hub" for each in type(model).__mro__)


def input_names(model: Any) -> list[str]:
    """Names the inputs of a model.

    Raises:
      ConfigError: it has no graph that tells them.
    """
    if not _has_graph(model):
        raise ConfigError(
            f"the model is a {type(model).__name__} without a graph of layers, so its inputs and layers have no names. Give a functional "
            "model: keras.Model(inputs, outputs)"
        )
    return [tensor.name for tensor in model.inputs]


def functional(model: Any) -> Any:
    """Gives a sequential model as a functional one of the same layers, which `clone_model` lets us look into; others as they are."""
    import keras

    return keras.Model(model.inputs, model.outputs[0]) if isinstance(model, keras.Sequential) else model


def _has_graph(model: Any) -> bool:
    import keras

    if isinstance(model, keras.Sequential):
        return bool(model.built)
    return isinstance(model, keras.Model) and hasattr(model, "operations")  # functional models alone have it


def layers_of(model: Any) -> dict[str, Any]:
    """Finds all layers of a model by name, those inside of models among its layers too; of two of one name the outer."""
    found: dict[str, Any] = {}
    for layer in model.layers:
        found.setdefault(layer.name, layer)
    for layer in model.layers:
        if _has_graph(layer):
            for name, inner in layers_of(layer).items():
                found.setdefault(name, inner)
    return found


def capture(model: Any, names: Collection[str]) -> Any:
    """Makes a model over the same layers that gives outputs of some of them, too.

    Args:
      model: functional.
      names: of layers, those inside of models among its layers too; the first call of each counts.

    Returns:
      a functional model of the same inputs: {name: tensor}, and what the model itself gives as `OUTPUT`.

    Raises:
      ConfigError: there is no such layer.
    """
    import keras

    model = functional(model)
    found: dict[str, Any] = {}

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        inner = set(names) & layers_of(layer).keys() - found.keys() if _has_graph(layer) else set()
        if inner:
            made = capture(layer, inner)(*arguments)
            made, result = {name: value for name, value in made.items() if name != OUTPUT}, made[OUTPUT]
            found.update(made)
        else:
            result = layer(*arguments, **options)
        if layer.name in names and layer.name not in found:
            found[layer.name] = result[0] if isinstance(result, list | tuple) else result
        return result

    clone = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    if missing := sorted(set(names) - found.keys()):
        known = ", ".join(name for name, layer in layers_of(model).items() if type(layer).__name__ != "InputLayer")
        raise ConfigError(f"the model has no layer {missing[0]!r}; it has {known}")
    return keras.Model(clone.input, {**found, OUTPUT: clone.output})
