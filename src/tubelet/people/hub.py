"""Detectors of the Hugging Face hub in its own cache: whether they are there, and fetching them.

An offline machine must not hang: what is cached is read without asking the hub, and whether the
hub can be reached is found out within seconds.
"""

from __future__ import annotations

import importlib
import threading
from importlib.util import find_spec
from pathlib import Path

from tubelet.errors import InputError
from tubelet.files import offline

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
EXTRA = 'pip install "tubelet[hf]"'
_PACKAGES = ("transformers", "huggingface_hub", "PIL")
_PATIENCE_S = 5.0


def installed() -> bool:
    """Whether the extra `tubelet[hf]` is, without importing it."""
    try:
        return all(find_spec(name) is not None for name in _PACKAGES)
    except ValueError:  # one whose import was forbidden has no spec
        return False


def cached(model_id: str, revision: str | None = None) -> Path | None:
    """The folder of a detector whose files all lie in the hub's cache; else None."""
    if not installed():
        return None
    look = importlib.import_module("huggingface_hub").try_to_load_from_cache
    found = [look(model_id, name, revision=revision) for name in FILES]
    if not all(isinstance(path, str) for path in found):
        return None
    return Path(found[0]).parent


def reachable(model_id: str, *, patience_s: float = _PATIENCE_S) -> bool:
    """Whether the hub answers for `model_id` within `patience_s`; False where offline is asked.

    The question runs beside: a name server that does not answer has no time limit of its own.
    """
    if offline():
        return False
    answered = threading.Event()
    asking = threading.Thread(target=_ask, args=(model_id, answered, patience_s), daemon=True)
    asking.start()
    asking.join(patience_s)
    return answered.is_set()


def _ask(model_id: str, answered: threading.Event, patience_s: float) -> None:
    hub = importlib.import_module("huggingface_hub")
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(model_id, FILES[0]), timeout=patience_s)
    except Exception:  # whatever it is, the detector cannot be had now
        return
    answered.set()


def fetch(model_id: str) -> Path:
    """The folder of a detector in the hub's cache, downloaded if it is not there.

    Raises InputError without `tubelet[hf]`, offline, and where the hub has no such detector.
    """
    if not installed():
        raise InputError(
            "detectors of the Hugging Face hub need an optional extra",
            expected="transformers and huggingface_hub",
            hint=EXTRA,
        )
    if (found := cached(model_id)) is not None:
        return found
    if offline():
        raise InputError(
            f"{model_id} is not on this machine",
            got="offline by TUBELET_OFFLINE or HF_HUB_OFFLINE",
            hint="fetch it where there is a connection: tubelet pull people",
        )
    if not reachable(model_id):
        raise InputError(
            f"{model_id} is not on this machine",
            got="the hub does not answer, or knows no such detector",
            hint="check the connection and the id on huggingface.co",
        )
    hub = importlib.import_module("huggingface_hub")
    try:
        # The weights come last: what is there then is whole.
        paths = [hub.hf_hub_download(model_id, name, library_name="tubelet") for name in FILES]
    except (OSError, ValueError) as error:
        raise InputError(
            f"the detector {model_id} cannot be fetched",
            got=str(error).strip().splitlines()[0],
            hint="check the connection and the id on huggingface.co",
        ) from error
    return Path(paths[-1]).parent
