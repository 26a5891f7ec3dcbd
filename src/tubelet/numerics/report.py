"""What tubelet knows about the machine it runs on: for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from tubelet.files import cache_folder
from tubelet.numerics.precision import resolve
from tubelet.numerics.probe import findings_here
from tubelet.numerics.processor import processor

_PACKAGES = ("torch", "numpy", "scipy", "av", "safetensors", "polars", "jinja2", "typer", "rich")
_EXTRAS = {
    "hf": ("transformers", "huggingface_hub", "pillow"),
    "tensorboard": ("tensorboard",),
    "flax": ("msgpack",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "serve": ("starlette", "uvicorn", "python-multipart"),
}
_VARIABLES = ("OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "HF_HUB_OFFLINE")


def machine_report() -> dict[str, Any]:
    """Versions of what we stand on, processor, what was probed and found on it, devices, extras,
    caches and the environment variables that matter; JSON-ready."""
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    return {
        "versions": {
            "python": sys.version.split()[0],
            "system": platform.platform(),
            **{name: version_of(name) for name in _PACKAGES},
        },
        "processor": str(processor()),
        "threads": torch.get_num_threads(),
        "devices": [_device(device) for device in devices],
        "extras": {
            extra: {name: version_of(name) for name in names} for extra, names in _EXTRAS.items()
        },
        "caches": _caches(cache_folder()),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith("TUBELET_") or name in _VARIABLES
        },
    }


def version_of(package: str) -> str | None:
    """The installed version, None where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(device: torch.device) -> dict[str, Any]:
    found = findings_here(device)
    return {
        "device": str(device),
        "name": "" if device.type == "cpu" else torch.cuda.get_device_name(device),
        "auto": resolve("auto", device),
        "probed": len(found),
        "wrong": sorted(key for key, finding in found.items() if not finding.right),
    }


def _caches(folder: Path) -> dict[str, Any]:
    """Each cache below `folder` and its bytes."""
    below = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    sizes = {
        str(path): sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) for path in below
    }
    return {str(folder): sum(sizes.values()), **sizes}
