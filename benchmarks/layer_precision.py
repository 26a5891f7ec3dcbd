"""Weight gradients of bf16 convolutions beside fp32, raw and as the library runs them.

    python benchmarks/layer_precision.py [--json FILE]
    python benchmarks/layer_precision.py --shipped

Each row: the relative L2 error of the weight gradient that torch gives under autocast, in both
memory formats, and what is left once the layer was prepared, with the precision that it then runs
in. Memory that a kernel may forget to write holds NaN before each run, so that luck plays no part.
Run it under ONEDNN_MAX_CPU_ISA to see what another processor would do. `--shipped`: what the probe
finds of the networks whose weights ship, on the clips that they were trained on.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from tubelet.models.layers.conv import Conv3d
from tubelet.models.shapes import calls_of
from tubelet.numerics.layers import layer_calls, release
from tubelet.numerics.precision import autocast
from tubelet.numerics.prepare import prepare
from tubelet.numerics.probe import probe
from tubelet.numerics.processor import processor
from tubelet.people.detectors.small import calls_of as detector_calls
from tubelet.people.training.person_small import person_small
from tubelet.recipes import recipe_named
from tubelet.train.recipe import Recipe

CPU = torch.device("cpu")
LAYERS = {
    "3×1×1 96→32": (96, 32, (3, 1, 1), (1, 1, 1)),
    "3×1×1 64→64": (64, 64, (3, 1, 1), (1, 1, 1)),
    "3×3×3 32→32": (32, 32, (3, 3, 3), (1, 1, 1)),
    "1×7×7 3→64, stride 2": (3, 64, (1, 7, 7), (1, 2, 2)),
    "5×7×7 3→8, stride 2": (3, 8, (5, 7, 7), (1, 2, 2)),
}
SIZES = ((1, 2, 4, 4), (3, 1, 2, 2), (3, 2, 2, 2), (2, 4, 8, 8), (2, 8, 28, 28))


def gradient(layer: nn.Module, x: Tensor, precision: str) -> Tensor:
    """The weight's gradient for an all-ones gradient of the output."""
    layer.zero_grad()
    soiled = [torch.full((2**n,), math.nan) for n in range(8, 21)]
    del soiled
    with autocast(CPU, precision):  # type: ignore[arg-type]
        out = layer(x)
    out.backward(torch.ones_like(out))
    [weight] = layer.parameters()
    assert weight.grad is not None
    return weight.grad.clone()


def worst(layer: nn.Module, x: Tensor, runs: int = 5) -> float:
    """Greatest relative error of several runs, infinite where a value is not finite."""
    exact = gradient(layer, x, "fp32")
    errors = []
    for _ in range(runs):
        found = gradient(layer, x, "bf16")
        finite = bool(torch.isfinite(found).all())
        errors.append(float((found - exact).norm() / exact.norm()) if finite else math.inf)
    return max(errors)


def row(name: str, size: tuple[int, int, int, int], *, channels_last: bool) -> dict[str, object]:
    inputs, outputs, kernel, stride = LAYERS[name]
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    torch.manual_seed(0)
    raw: nn.Module = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
    ours: nn.Module = Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
    ours.load_state_dict(raw.state_dict())
    x = torch.randn(size[0], inputs, *size[1:])
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        raw.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        ours.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    model = nn.Sequential(ours)
    twin = copy.deepcopy(model).to("meta")
    calls = partial(layer_calls, twin, lambda: twin(x.to("meta")))
    report = prepare(model, calls, device=CPU, precision="bf16", backward=True)
    assert report is not None
    result = {
        "layer": name,
        "size": size,
        "format": "channels last" if channels_last else "contiguous",
        "torch": worst(raw, x),
        "tubelet": worst(model, x),
        "runs in": "fp32" if report.fp32 else "bf16",
    }
    release(model)
    return result


def shipped() -> None:
    """The probe of every stage of the shipped recipes, with gradients, without the cache."""
    with tempfile.TemporaryDirectory() as empty:
        look = partial(probe, device=CPU, precision="bf16", backward=True, folder=Path(empty))
        for name in ("playground_small", "jhmdb21_small"):
            recipe = recipe_named(name)
            assert isinstance(recipe, Recipe)
            for index, stage in enumerate(recipe.stages):
                config = recipe.model_at(index)
                height, width = stage.clip_hw(config)
                frames = (stage.input or config.input).frames
                shape = (stage.batch, 3, frames, height, width * 4 // 3)  # of 4:3 film
                found = look(calls_of(config, shape))
                print(f"{name}, {stage.name}: {found}; worst error {found.worst:.4f}")
        person = person_small()
        net = person.model.build()
        for hw in person.augment.canvases_hw:
            found = look(detector_calls(net, (person.batch, 3, *hw)))
            print(f"person_small, {hw}: {found}; worst error {found.worst:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--shipped", action="store_true")
    chosen = parser.parse_args()
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if chosen.shipped:
        shipped()
        return
    print(f"{'layer':22}{'(B,T,H,W)':14}{'format':15}{'torch':>9}{'tubelet':>9}  runs in")
    rows = []
    for name in LAYERS:
        for size in SIZES:
            for channels_last in (False, True):
                found = row(name, size, channels_last=channels_last)
                rows.append(found)
                sides = ",".join(map(str, size))
                print(
                    f"{name:22}{sides:14}{found['format']:15}{found['torch']:9.2g}"
                    f"{found['tubelet']:9.2g}  {found['runs in']}"
                )
    print(f"worst, as tubelet runs them: {max(float(str(r['tubelet'])) for r in rows):.2g}")
    if chosen.json:
        facts = {"processor": str(processor()), "torch": torch.__version__, "rows": rows}
        chosen.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
