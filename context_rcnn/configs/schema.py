"""Reads an experiment: its name's defaults, then config files, then `a.b=c`, in that order.

A config file is YAML, or a `pipeline.config` of the Object Detection API (`pipeline_config`). What
does not fit is refused with the file, the full name of the field and the nearest right one.
"""

import difflib
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import yaml
from official.core import config_definitions
from official.modeling import hyperparams

from context_rcnn.configs import (
    detectors,  # noqa: F401  registers experiments
    experiments,
    pipeline_config,
    temporal,
)

_LOG = logging.getLogger(__name__)


class _Loader(yaml.SafeLoader):
    """Also takes 1e-3 for a number, which without a point is text in YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789")
)


def load_experiment(
    name: str = "",
    config_files: Sequence[str] = (),
    overrides: str = "",
) -> config_definitions.ExperimentConfig:
    """Returns the settings of one run.

    Args:
        name: an experiment; may be empty where a YAML file says `experiment: NAME`.
        config_files: YAML files or pipeline configs, later ones override earlier ones.
        overrides: `task.model.num_classes=5,trainer.train_steps=100`, or YAML text.
    """
    layers = []
    for path in config_files:
        values = _read_file(path)
        name = name or values.get("experiment", "")
        values.pop("experiment", None)
        layers.append((path, values))
    temporal.registered()  # each memory has experiments of its own
    there = experiments.names()
    if not name:
        raise ValueError(
            "no experiment is named: pass --experiment, or say `experiment: NAME` in the YAML "
            f"file; there are {', '.join(there)}"
        )
    if name not in there:
        near = difflib.get_close_matches(name, there, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(there)}"
        raise ValueError(f"experiment {name!r} does not exist{hint}")
    config = experiments.get(name)
    if overrides:
        layers.append(("--params_override", _read_overrides(overrides)))
    for source, values in layers:
        _check(values, config, source, "")
        config.override(values, is_strict=True)
    config.name = name
    config.validate()
    return config


def save_experiment(config: config_definitions.ExperimentConfig, path: str) -> None:
    """Writes the resolved settings as a YAML file that `load_experiment` reads back."""
    values = config.as_dict()
    values = {"experiment": values.pop("name")} | values
    # Written beside and renamed, so that a reader never sees half a file.
    with tf.io.gfile.GFile(path + ".tmp", "w") as file:
        yaml.safe_dump(values, file, sort_keys=False)
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)


def _read_file(path: str) -> dict[str, Any]:
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{path}: no such config file")
    with tf.io.gfile.GFile(path, "rb") as file:
        try:
            text = file.read().decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not text: {error}") from None
    if pipeline_config.is_pipeline_config(text):
        try:
            converted = pipeline_config.read_pipeline_config(text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        for note in converted.notes:
            _LOG.warning("%s: %s", path, note)
        return {"experiment": converted.experiment} | converted.values
    try:
        values = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected settings by name, found {type(values).__name__}")
    return values


def _read_overrides(overrides: str) -> dict[str, Any]:
    try:
        values = yaml.load(overrides, Loader=_Loader)
        if not isinstance(values, dict):
            values = hyperparams.nested_csv_str_to_json_str(overrides)
            values = yaml.load(values, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(
            f"--params_override: expected a.b=1,a.c=2 or YAML, got {overrides!r}: {error}"
        ) from None
    return values


def _check(values: Mapping[str, Any], config: hyperparams.Config, source: str, prefix: str):
    # Not `as_dict`: of several alternatives it only has the one that is chosen.
    defaults = {key: default for key, default in vars(config).items() if not key.startswith("_")}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in defaults:
            near = difflib.get_close_matches(str(key), list(defaults), 1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise ValueError(f"{source}: there is no setting {name}{hint}")
        default = defaults[key]
        if isinstance(config, hyperparams.OneOfConfig) and key == "type" and value is not None:
            choices = [choice for choice in defaults if choice != "type"]
            if value not in choices:
                raise ValueError(
                    f"{source}: {name} must be one of {', '.join(choices)}, got {value!r}"
                )
        if isinstance(default, hyperparams.Config):
            if not isinstance(value, Mapping):
                raise ValueError(f"{source}: {name} is a group of settings, got {value!r}")
            _check(value, default, source, f"{name}.")
        elif default is not None and value is not None and not _fits(value, default):
            raise ValueError(
                f"{source}: {name} must be {_kind(default)}, got {value!r} ({type(value).__name__})"
            )


def _kind(default: Any) -> str:
    """What a setting must be, in words."""
    of = f" of {type(default[0]).__name__}" if isinstance(default, list) and default else ""
    return f"{type(default).__name__}{of}"


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        # All of a list are of one type; where the defaults are whole, other numbers may do, too.
        kinds = [float(one) if type(one) is int else one for one in default[:1]]
        return isinstance(value, list | tuple) and all(
            _fits(one, kind) for one in value for kind in kinds
        )
    return isinstance(value, type(default))
