"""`tubelet doctor`: what a bug report needs to know of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tubelet
from tubelet.api import choose_device
from tubelet.cli.console import out, print_json, print_paragraph
from tubelet.models.create import create_model, model_names
from tubelet.models.detector import ActionModel
from tubelet.models.shapes import calls_of
from tubelet.models.weights import load_model
from tubelet.numerics.probe import ProbeReport, probe
from tubelet.numerics.report import machine_report
from tubelet.releases.table import weights_path

_NAMED = 8  # wrong layers that are listed


def print_report(model: str | None, *, as_json: bool) -> None:
    """Print the report; with `model`, after its layers were tried in bf16 on the default device."""
    tried = None if model is None else _tried(model)
    report = machine_report()
    report["versions"] = {"tubelet": tubelet.__version__, **report["versions"]}
    if tried is not None:
        report["probe"] = {"model": model, "found": str(tried), "slow": tried.slow}
    if as_json:
        print_json(report)
        return
    _section("versions", {k: v or "not installed" for k, v in report["versions"].items()})
    out.print(f"processor: {report['processor']}, {report['threads']} threads")
    for device in report["devices"]:
        _print_device(device)
    _section("extras", {extra: _extra(found) for extra, found in report["extras"].items()})
    _section("caches", {path: f"{size / 1e6:.1f} MB" for path, size in report["caches"].items()})
    _section("environment", report["environment"])
    if tried is not None:
        _section(f"probe of {model}", {"bf16": str(tried), "speed": tried.slow or "not slower"})


def _tried(name: str) -> ProbeReport:
    """The probe of a named architecture's or a saved model's layers, with gradients."""
    model: ActionModel
    if name in model_names():
        model = create_model(name, task="detection", labels=2)
    else:
        model = load_model(weights_path(name))
    spec, device = model.input, choose_device()
    side = spec.crop or spec.short_side
    calls = calls_of(model.config, (1, 3, spec.frames, side, side))
    return probe(calls, device=device, precision="bf16", backward=True)


def _section(title: str, rows: Mapping[str, Any]) -> None:
    out.print(f"{title}:")
    for name, value in rows.items():
        print_paragraph(f"  {name}: {value}", indent=6)


def _print_device(device: Mapping[str, Any]) -> None:
    name = f" ({device['name']})" if device["name"] else ""
    out.print(f"device {device['device']}{name}: precision auto is {device['auto']}")
    wrong = device["wrong"]
    out.print(f"  layers probed: {device['probed']}, wrong: {len(wrong)}")
    for key in wrong[:_NAMED]:
        print_paragraph(f"    {key}", indent=6)
    if len(wrong) > _NAMED:
        out.print(f"    … and {len(wrong) - _NAMED} more")


def _extra(found: Mapping[str, str | None]) -> str:
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return f"not installed ({', '.join(missing)})"
    return ", ".join(f"{name} {version}" for name, version in found.items())
