"""What a build makes: its settings together with what the vocabulary tells about them."""

from __future__ import annotations

import dataclasses

import numpy as np

from tokenreel.config.build import JobConfig, PackingConfig
from tokenreel.errors import ConfigError
from tokenreel.format import naming, schema
from tokenreel.format.example_codec import make_fixed_format
from tokenreel.format.labels import Label
from tokenreel.format.manifest import VocabularyInfo
from tokenreel.format.schema import Feature, RecordFormat
from tokenreel.layouts import segment_pairs
from tokenreel.layouts.modes import PAIRS
from tokenreel.objectives.base import Objective
from tokenreel.objectives.fill_in_the_middle import FillInTheMiddle
from tokenreel.objectives.registry import check_sentinels, make_objective, needed_facts
from tokenreel.objectives.special_ids import find_id, find_ids, named_ids
from tokenreel.objectives.ul2 import MixtureOfDenoisers
from tokenreel.plain_values import to_plain
from tokenreel.vocabularies.base import Vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that turns tokens into records; small, and the same on every worker.

    Attributes:
      config: the settings.
      vocabulary: what made the tokens.
      objective: what is computed from each example.
      packing: the layout of examples before the objective: as the settings say, for as many tokens as the objective takes.
      special_ids: every id that is never text, sorted: the vocabulary's, and those that the settings name or the objective writes.
    """

    config: JobConfig
    vocabulary: VocabularyInfo
    objective: Objective
    packing: PackingConfig
    special_ids: tuple[int, ...]

    @property
    def first_id(self) -> int | None:
        """The id that begins each document; None for none."""
        return self.vocabulary.bos_id if self.config.packing.add_bos else None

    @property
    def last_id(self) -> int | None:
        """The id that ends each document; None for none."""
        if self.packing.mode == PAIRS:  # its separators belong to the pairs
            return None
        return self.vocabulary.eos_id if self.packing.add_eos else self.separator_id

    @property
    def separator_id(self) -> int | None:
        """The id that `packing.separator_id` names; None for none."""
        assert not isinstance(self.packing.separator_id, str)
        return self.packing.separator_id

    @property
    def infilling(self) -> FillInTheMiddle | None:
        """The objective, if it rearranges documents before they are laid out."""
        return self.objective if isinstance(self.objective, FillInTheMiddle) else None

    @property
    def pad_id(self) -> int:
        """What fills examples up, before the objective and in what it makes; see `_fill_id`. The number of real tokens is stored anyway."""
        return self.objective.pad_id

    @property
    def pads(self) -> bool:
        """Whether examples may hold padding before the objective."""
        packing = self.packing
        return not packing.cuts_stream or packing.last_example == "pad" or isinstance(self.objective, MixtureOfDenoisers)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels that the records hold beside what the objective makes."""
        return self.config.labels

    @property
    def features(self) -> tuple[Feature, ...]:
        """The fields of the records."""
        packing = self.packing
        length = packing.seq_len + packing.overlap
        laid_out = {
            schema.TOKENS: Feature(name=schema.TOKENS, dtype=schema.token_dtype(self.vocabulary.vocab_size), shape=(length,)),
            schema.DOCUMENT_STARTS: Feature(name=schema.DOCUMENT_STARTS, dtype=schema.BIT, shape=(length,)),
        }
        if packing.mode == PAIRS:
            shapes = segment_pairs.output_shapes(length, self.vocabulary.vocab_size)
            laid_out = {name: Feature(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in shapes.items()}
        elif self.pads:
            laid_out[schema.NUM_TOKENS] = Feature(name=schema.NUM_TOKENS, dtype="int32")
        if self.config.vocabulary.offsets:
            both = (schema.TOKEN_BEGINS, schema.TOKEN_ENDS)
            laid_out |= {name: Feature(name=name, dtype="int32", shape=(length,)) for name in both}
        # Which of the arrays an objective keeps, it tells best itself: it is applied to no examples.
        none = {name: np.zeros((0, *feature.shape), dtype=np.int32) for name, feature in laid_out.items()}
        made = self.objective.output_shapes()
        kept = set(self.objective.apply(none, np.zeros(0, dtype=np.int64), seed=0)) - set(made)
        features = [feature for name, feature in laid_out.items() if name in kept]
        features += [Feature(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in made.items()]
        features += [Feature(name=label.feature, dtype="int32", shape=(length,) if label.by_token else ()) for label in self.labels]
        features.append(Feature(name=schema.EXAMPLE_ID, dtype="int64"))
        return tuple(sorted(features, key=lambda feature: feature.name))

    @property
    def fixed_format(self) -> RecordFormat:
        """Where the fields lie in a record."""
        return make_fixed_format(self.features)


_NAMES_ROLES = ("huggingface", "tiktoken")  # kinds of vocabularies whose options name special tokens


def vocabulary_info(config: JobConfig, vocabulary: Vocabulary) -> VocabularyInfo:
    """Makes what the manifest says of the vocabulary."""
    return VocabularyInfo(
        kind=config.vocabulary.kind,
        fingerprint=vocabulary.fingerprint,
        vocab_size=vocabulary.vocab_size,
        pad_id=vocabulary.pad_id,
        bos_id=vocabulary.bos_id,
        eos_id=vocabulary.eos_id,
        unk_id=vocabulary.unk_id,
        file=naming.vocabulary(config.vocabulary.kind) if vocabulary.data is not None else None,
        options={
            name: to_plain(value) for name, value in config.vocabulary.options.items() if name != "memo_bytes"
        }  # which costs memory and changes no token
        | dict(vocabulary.resolved),
    )


def make_recipe(config: JobConfig, vocabulary: Vocabulary) -> Recipe:
    """Resolves the settings against the vocabulary.

    Raises:
      ConfigError: the vocabulary lacks something, or the objective and the layout do not go together.
    """
    info = vocabulary_info(config, vocabulary)
    packing = config.packing
    for name, wanted, found in (("bos", packing.add_bos, info.bos_id), ("eos", packing.add_eos, info.eos_id)):
        if wanted and found is None:
            raise ConfigError(
                f"packing.add_{name} is set but the vocabulary has no {name} id. Set packing.add_{name}: false"
                + (", and packing.separator_id to an id that ends documents." if name == "eos" else ".")
                + (f" If it has one of another name, vocabulary.options.{name}_id names it." if info.kind in _NAMES_ROLES else "")
            )
    separator = find_id("packing.separator_id", packing.separator_id, vocabulary.find, info.vocab_size)
    options = find_ids("packing.options", packing.options, vocabulary.find, info.vocab_size)
    packing = dataclasses.replace(packing, separator_id=separator, options=options)
    settings = find_ids("objective", config.objective, vocabulary.find, info.vocab_size)
    facts = vocabulary.objective_facts()
    special = {*facts["special_ids"], *named_ids({"separator_id": separator, **options}), *named_ids(settings)}
    pad_id = _fill_id(info, settings.pop("pad_id", None))
    if (packing.align or 1) > 1:  # then there is padding inside examples, which `num_tokens` does not tell
        special.add(pad_id)
    if "pieces" in needed_facts(str(settings["name"]), settings):
        facts["pieces"] = vocabulary.pieces()
    facts |= {"pad_id": pad_id, "pads_with_text": pad_id not in special, "special_ids": sorted(special)}
    objective = make_objective(settings.pop("name"), seq_len=packing.seq_len, vocabulary=facts, **settings)
    objective.check_packing(mode=packing.mode, overlap=packing.overlap, align=packing.align or 1)
    if config.variants > 1 and (isinstance(objective, FillInTheMiddle | MixtureOfDenoisers) or packing.mode == PAIRS):
        what = packing.mode if packing.mode == PAIRS else objective.called
        raise ConfigError(f"{what} draws before examples are laid out: set variants to 1, and build again with other seeds")
    # Documents are laid out for what the objective reads of them, which for span corruption is longer than what the model reads.
    raw = _lay_out_for(packing, objective)
    special_ids = tuple(sorted(special.union(objective.marks())))
    recipe = Recipe(config=config, vocabulary=info, objective=objective, packing=raw, special_ids=special_ids)
    if config.vocabulary.offsets:
        if schema.TOKENS not in (feature.name for feature in recipe.features):
            raise ConfigError(
                f"vocabulary.offsets says where stored tokens lie in the text, and {objective.called} stores inputs and targets instead: "
                "set it to false, or build for causal_lm and compute the objective in the loader"
            )
        none = np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
        vocabulary.encode_block_with_offsets(*none)  # says if it cannot, before a worker starts
    _check_labels(recipe)
    check_sentinels(objective)
    return recipe


def _check_labels(recipe: Recipe) -> None:
    """Checks that labels mean something in the examples.

    Raises:
      ConfigError: they do not; says of what they would have to be.
    """
    packing = recipe.packing
    for label in recipe.labels:
        setting = "entity_fields" if label.by_token else "label_fields"
        if not label.by_token and packing.mode not in ("pad", "wrap_within_document", "buckets") and packing.max_segments != 1:
            raise ConfigError(
                f"sources.{setting}: {label.field} is the class of a document, and an example of packing.mode {packing.mode} holds several "
                "documents: set the mode to pad or wrap_within_document, or max_segments to 1"
            )
        if label.by_token and (packing.mode == PAIRS or recipe.infilling is not None):
            what = "packing.mode segment_pairs" if packing.mode == PAIRS else f"objective {recipe.objective.called}"
            raise ConfigError(
                f"sources.{setting}: {label.field} labels tokens in the order of the text, which {what} changes. Use another."
            )
        if label.by_token and not recipe.config.vocabulary.offsets:
            raise ConfigError(f"sources.{setting}: {label.field} is of characters, and needs vocabulary.offsets: true to find their tokens")


def _lay_out_for(packing: PackingConfig, objective: Objective) -> PackingConfig:
    """Makes the layout of what an objective reads.

    Raises:
      ConfigError: the mode has no examples of that length.
    """
    length = objective.raw_length() if packing.cuts_stream else objective.even_length()
    try:
        return dataclasses.replace(packing, seq_len=length)
    except ConfigError as error:
        raise ConfigError(
            f"objective {objective.called} takes examples of {length:,} tokens for packing.seq_len = {packing.seq_len:,}, and packing.mode "
            f"{packing.mode} makes none of that length. Choose another mode, or another packing.seq_len ({error})"
        ) from error


def _fill_id(vocabulary: VocabularyInfo, given: int | None) -> int:
    """Decides what fills examples up: `objective.pad_id`, the vocabulary's pad id, its eos id, or 0 where it has neither."""
    return next(i for i in (given, vocabulary.pad_id, vocabulary.eos_id, 0) if i is not None)
