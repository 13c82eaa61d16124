"""What must hold of a manifest's values before anything is made of them: a digest says that a text was not altered, not that it is sane.

Names lead nowhere but into the dataset, numbers are numbers of a possible size, and groups of settings are groups. Whether the values say
what the files hold is found by `load` and `verify`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tokenreel.format import naming
from tokenreel.format.schema import BIT, DTYPES
from tokenreel.wording import brief

MOST_RECORD_BYTES = 64 << 20  # a few million positions with several fields
_MOST = 1 << 62
_MOST_POSITIONS = 1 << 31
_MOST_SHARDS = 1 << 26
_MOST_SPECIAL = 1 << 20  # ids: a set of them is made
_SPLIT = re.compile(r"[A-Za-z0-9_]+")
_GROUPS = ("packing", "objective", "shards")  # of settings that readers ask for
_IDS = ("pad_id", "bos_id", "eos_id", "unk_id")


def check_body(body: Mapping[str, Any]) -> None:
    """Checks the values of a manifest's JSON.

    Raises:
      KeyError: a field is missing.
      ValueError: names the field, the value and what was expected.
    """
    record = _mapping(body["record"], "record")
    length = _whole(record["seq_len"], "record.seq_len", 1, _MOST_POSITIONS)
    _whole(record["overlap"], "record.overlap", 0, length)
    _whole(record["pad_id"], "record.pad_id", 0, _MOST_POSITIONS)
    _one_of(record["format"], "record.format", ("fixed", "int64_list"))
    _check_features(_list(record["features"], "record.features"))
    for split, info in _mapping(body["splits"], "splits").items():
        if not _SPLIT.fullmatch(split):
            raise ValueError(f"splits: {brief(split)} is no name of a split")
        shards, where = _mapping(info, f"splits.{split}")["shards"], f"splits.{split}.shards"
        if body["format_version"] > 1:
            _whole(shards, where, 0, _MOST_SHARDS)
        else:
            _check_shards(_list(shards, where), where)
    _check_vocabulary(_mapping(body["vocabulary"], "vocabulary"))
    _check_config(_mapping(body["config"], "config"))
    _whole(body["seed"], "seed", -_MOST, _MOST)
    for name, version in _mapping(body["algorithms"], "algorithms").items():
        _text(version, f"algorithms.{name}")
    _check_totals(_mapping(body["totals"], "totals"))
    _check_files(_list(body["files"], "files"))
    _text(body["tokenreel_version"], "tokenreel_version")
    if "objective_facts" in body:
        _check_facts(_mapping(body["objective_facts"], "objective_facts"))


def check_name(name: Any, where: str) -> str:
    """Checks that the name of a file stays below the dataset's directory wherever that lies.

    Raises:
      ValueError: it is absolute, goes up, or holds what no build puts into a name.
    """
    parts = _text(name, where).split("/")
    if not all(parts) or {".", ".."} & set(parts) or not name.isprintable() or "\\" in name or ":" in parts[0]:
        raise ValueError(f"{where} must be the name of a file in the dataset, got {brief(name)}")
    return str(name)


def _check_features(rows: Sequence[Any]) -> None:
    """Checks the fields of a record: above all that a record of them fits into memory."""
    names, total = set(), 0
    for index, row in enumerate(rows):
        where = f"record.features.{index}"
        name = _text(_mapping(row, where)["name"], f"{where}.name")
        if not name or name in names:
            raise ValueError(f"{where}.name must be a name of its own, got {brief(name)}")
        names.add(name)
        dtype = _one_of(row["dtype"], f"{where}.dtype", tuple(DTYPES))
        size = 1
        for extent in _list(row["shape"], f"{where}.shape"):
            size *= _whole(extent, f"{where}.shape", 0, MOST_RECORD_BYTES)
        total += len(name) + (size // 8 if dtype == BIT else size * DTYPES[dtype])
        if total > MOST_RECORD_BYTES:
            raise ValueError(f"{where}: a record would have more than {MOST_RECORD_BYTES:,} bytes")


def _check_shards(shards: Sequence[Any], where: str) -> None:
    for index, row in enumerate(shards):
        place = f"{where}.{index}"
        if not naming.is_shard(_text(_mapping(row, place)["file"], f"{place}.file")):
            raise ValueError(f"{place}.file must be the name of a shard, such as {naming.shard('train', 0, 1)}, got {brief(row['file'])}")
        _whole(row["records"], f"{place}.records", 0, _MOST)
        _whole(row["bytes"], f"{place}.bytes", 0, _MOST)
        _whole(row["crc32c"], f"{place}.crc32c", 0, (1 << 32) - 1)


def _check_totals(totals: Mapping[str, Any]) -> None:
    for name, number in totals.items():
        if isinstance(number, Mapping):  # by reason, by source
            for part, value in number.items():
                if not isinstance(value, Mapping):
                    _whole(value, f"totals.{name}.{part}", 0, _MOST)
        else:
            _whole(number, f"totals.{name}", 0, _MOST)


def _check_files(rows: Sequence[Any]) -> None:
    for index, row in enumerate(rows):
        where = f"files.{index}"
        check_name(_mapping(row, where)["file"], f"{where}.file")
        _whole(row["bytes"], f"{where}.bytes", 0, _MOST)
        _whole(row["crc32c"], f"{where}.crc32c", 0, (1 << 32) - 1)


def _check_vocabulary(vocabulary: Mapping[str, Any]) -> None:
    where = "vocabulary"
    _text(vocabulary["kind"], f"{where}.kind")
    _text(vocabulary["fingerprint"], f"{where}.fingerprint")
    _whole(vocabulary["vocab_size"], f"{where}.vocab_size", 1, _MOST_POSITIONS)
    for name in _IDS:
        if vocabulary[name] is not None:
            _whole(vocabulary[name], f"{where}.{name}", 0, _MOST_POSITIONS)
    if vocabulary["file"] is not None:
        check_name(vocabulary["file"], f"{where}.file")
    _mapping(vocabulary["options"], f"{where}.options")


def _check_facts(facts: Mapping[str, Any]) -> None:
    _mapping(facts.get("special_names", {}), "objective_facts.special_names")
    special, where = 0, "objective_facts.special_ids"
    for ids in _list(facts.get("special_ids", []), where):
        first, last = (_whole(i, where, 0, _MOST_POSITIONS) for i in _list(ids, where))
        special += max(0, last - first)
    _whole(special, f"the number of {where}", 0, _MOST_SPECIAL)
    for name, value in facts.items():
        if name.endswith("_id") and value is not None:
            _whole(value, f"objective_facts.{name}", 0, _MOST_POSITIONS)


def _check_config(config: Mapping[str, Any]) -> None:
    """Checks the settings that readers of a dataset ask for."""
    packing, objective, _ = (_mapping(config.get(name, {}), f"config.{name}") for name in _GROUPS)
    if packing.get("mode") is not None:
        _text(packing["mode"], "config.packing.mode")
    if objective.get("name") is not None:
        _text(objective["name"], "config.objective.name")
    _mapping(packing.get("options", {}), "config.packing.options")
    if packing.get("align") is not None:
        _whole(packing["align"], "config.packing.align", 1, _MOST_POSITIONS)
    for index, denoiser in enumerate(_list(objective.get("denoisers") or [], "config.objective.denoisers")):
        _mapping(denoiser, f"config.objective.denoisers.{index}")
    _whole(config.get("variants", 1), "config.variants", 1, _MOST_POSITIONS)
    for index, source in enumerate(_list(config.get("sources", []), "config.sources")):
        where = f"config.sources.{index}"
        for setting in ("label_fields", "entity_fields"):
            fields = _mapping(_mapping(source, where).get(setting) or {}, f"{where}.{setting}")
            for name in (name for field, classes in fields.items() for name in _list(classes, f"{where}.{setting}.{field}")):
                _text(name, f"{where}.{setting}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a mapping, got {brief(value)}")
    return value


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, got {brief(value)}")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a text, got {brief(value)}")
    return value


def _whole(value: Any, where: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{where} must be a whole number from {least:,} to {most:,}, got {brief(value)}")
    return value


def _one_of(value: Any, where: str, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{where} must be one of {', '.join(known)}, got {brief(value)}")
    return value
