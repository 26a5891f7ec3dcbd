"""Encoders of the hub (`hf:ID`) as weights files of ours, to train from.

The file holds the encoder and no classes: a recipe that starts from it brings its own head.
"""

from __future__ import annotations

import re
from pathlib import Path

from tubelet.files import locked, offline
from tubelet.models.create import create_model
from tubelet.models.encoders import PREFIX, licence_line
from tubelet.models.heads.none import NoHeadConfig
from tubelet.models.weights import save_model
from tubelet.releases.download import unreachable


def encoder_weights(name: str, folder: Path) -> Path:
    """The file in `folder` that holds the encoder `hf:ID`, made from the hub's on first use.

    Raises InputError where it is not there and cannot be had, ConfigError for a class of encoders
    that is not known.
    """
    id_ = name.removeprefix(PREFIX)
    path = folder / (re.sub(r"[^A-Za-z0-9._-]+", "--", id_).strip("-") + ".safetensors")
    with locked(path.with_suffix(".lock")):
        if path.is_file():
            return path
        if offline() and not Path(id_).is_dir():
            raise unreachable(f"the encoder {name}", "offline", target=path)
        model = create_model(name, head=NoHeadConfig(), labels=1)
        facts = {"family": "an encoder of the hub", "file": id_, "notes": [licence_line(id_)]}
        save_model(path, model, provenance={"source": facts})
    return path
