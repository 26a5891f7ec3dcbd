"""The probe: each distinct layer of a model, forward and backward, in the lower precision and in
fp32.

torch 2.13's bf16 convolutions have weight gradients that are wrong on processors with AVX-512,
mostly without a NaN, so that training would silently learn nothing. Which shapes depends on the
processor and the release, so they are tried, once per machine, and what is wrong runs in fp32.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tubelet.errors import InputError
from tubelet.files import cache_folder, locked, make_parent, write_text
from tubelet.numerics.choices import Precision
from tubelet.numerics.layers import LayerCall, distinct, may_crash, reduced
from tubelet.numerics.precision import autocast
from tubelet.numerics.processor import processor

TOLERANCE = 0.02
"""Largest relative error of a layer's output or gradient. Rounding gives 0.002–0.01."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFinding:
    """Relative L2 errors of one layer against fp32, infinite where a value is not finite, and the
    seconds that it took. `gradient` is the worse of the weight's and the input's; 0 where only the
    forward pass was tried."""

    output: float
    gradient: float
    seconds: float
    seconds_fp32: float

    @property
    def right(self) -> bool:
        return max(self.output, self.gradient) <= TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What was found of a model. `layers`: how many were looked at. `wrong`: names of those whose
    results are wrong. `unsafe`: those that could crash the process and were not tried. `slowdown`:
    time of all layers over their time in fp32. `seconds`: how long it took, 0 from the cache.
    `remembered`: whether the cache could be written."""

    precision: Precision
    where: str
    layers: int
    wrong: tuple[str, ...]
    unsafe: tuple[str, ...]
    worst: float
    slowdown: float
    seconds: float
    remembered: bool = True

    @property
    def fp32(self) -> tuple[str, ...]:
        """Names of the layers that have to run in fp32."""
        return (*self.wrong, *self.unsafe)

    def __str__(self) -> str:
        kind, reasons = self.precision, []
        if self.wrong:
            them = "their" if len(self.wrong) > 1 else "its"
            reasons.append(f"{them} {kind} results are wrong on {self.where}")
        if self.unsafe:
            reasons.append(f"{len(self.unsafe)} could crash the process in {kind}")
        took = f" ({self.seconds:.1f} s)" if self.seconds else ""
        took += "" if self.remembered else "; the cache folder cannot be written"
        if not reasons:
            return f"{kind}: all {self.layers} layers agree with fp32 on {self.where}{took}"
        return f"{len(self.fp32)} of {self.layers} layers in fp32: {', '.join(reasons)}{took}"

    @property
    def slow(self) -> str | None:
        """A sentence where the precision costs time instead of saving it."""
        if self.slowdown < 1.25:  # a busy machine is no finer clock
            return None
        return (
            f"{self.precision} is {self.slowdown:.1f}× slower than fp32 on {self.where}, "
            "for this model"
        )


def probe(
    calls: Mapping[str, LayerCall],
    *,
    device: torch.device,
    precision: Precision,
    backward: bool,
    channels_last: bool = True,
    folder: Path | None = None,
) -> ProbeReport:
    """Try each distinct layer of `calls` once on `device`, with its values in the memory format
    that they have in the model.

    What was found on this machine, with this release of torch and this many threads, is read from
    `folder` (by default in the cache folder) and added there.
    """
    began = time.monotonic()
    names = distinct(calls)
    of_key = {call.key: call for call in calls.values()}
    unsafe = [key for key, call in of_key.items() if device.type == "cpu" and may_crash(call.layer)]
    cache = _Cache(folder or _folder(), device)
    known = cache.read()
    way = f"{'gradients' if backward else 'forward'}{' channels-last' if channels_last else ''}"
    found: dict[str, LayerFinding] = {}
    fresh: dict[str, LayerFinding] = {}
    for key, call in of_key.items():
        if key in unsafe:
            continue
        stored = f"{precision} {way} {key}"
        if stored not in known:
            fresh[stored] = try_layer(
                call,
                device=device,
                precision=precision,
                backward=backward,
                channels_last=channels_last,
            )
        found[key] = fresh.get(stored) or known[stored]
    remembered = cache.add(fresh)
    spent = {key: (f.seconds, f.seconds_fp32) for key, f in found.items()}
    total, total_fp32 = (sum(s[i] * len(names[k]) for k, s in spent.items()) for i in (0, 1))
    return ProbeReport(
        precision=precision,
        where=cache.where,
        layers=len(calls),
        wrong=tuple(n for key, f in found.items() if not f.right for n in names[key]),
        unsafe=tuple(n for key in unsafe for n in names[key]),
        worst=max((max(f.output, f.gradient) for f in found.values()), default=0.0),
        slowdown=total / total_fp32 if total_fp32 else 1.0,
        seconds=time.monotonic() - began if fresh else 0.0,
        remembered=remembered,
    )


def findings_here(device: torch.device) -> dict[str, LayerFinding]:
    """What is known of layers on `device`, by precision, way and layer."""
    return _Cache(_folder(), device).read()


def _folder() -> Path:
    return cache_folder() / "numerics"


def try_layer(
    call: LayerCall,
    *,
    device: torch.device,
    precision: Precision,
    backward: bool,
    channels_last: bool = True,
) -> LayerFinding:
    """Compare one layer with itself in fp32, on seeded values, on a reduced input; where that has
    several clips also on a single one."""
    call = reduced(call)
    random = torch.Generator().manual_seed(0)
    layer = copy.deepcopy(call.layer).to_empty(device=device)
    for weight in layer.parameters():
        fan_in = max(1, weight[0].numel() if weight.ndim > 1 else weight.numel())
        values = torch.randn(weight.shape, generator=random) / math.sqrt(fan_in)
        weight.data.copy_(values)
    x = torch.randn(call.input_shape, generator=random).to(device)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if channels_last and x.ndim in formats:
        x = x.contiguous(memory_format=formats[x.ndim])
        layer.to(memory_format=formats[x.ndim])  # type: ignore[call-overload]
    output, gradient = 0.0, 0.0
    for clips in (x[:1], x) if len(x) > 1 and x.ndim > 2 else (x,):
        # Each twice: the second time is without the compilation of kernels.
        exact = [_results(layer, clips, "fp32", backward=backward) for _ in range(2)]
        found = [_results(layer, clips, precision, backward=backward) for _ in range(2)]
        for results in found:
            errors = [_error(a, b) for a, b in zip(results.tensors, exact[-1].tensors, strict=True)]
            output, gradient = max(output, errors[0]), max(gradient, *errors[1:], 0.0)
    return LayerFinding(
        output=output,
        gradient=gradient,
        seconds=min(results.seconds for results in found),
        seconds_fp32=min(results.seconds for results in exact),
    )


@dataclass(frozen=True, slots=True)
class _Results:
    """Output, then the gradients of weight and input; and the seconds that they took."""

    tensors: tuple[Tensor, ...]
    seconds: float


def _results(layer: nn.Module, x: Tensor, precision: Precision, *, backward: bool) -> _Results:
    x = x.detach().requires_grad_(backward)
    layer.zero_grad(set_to_none=True)
    _soil(x)
    began = time.perf_counter()
    with torch.set_grad_enabled(backward), autocast(x.device, precision):
        out: Tensor = layer(x)
    if backward:
        # A gradient of ±1, the same in every precision.
        flat = torch.arange(out.numel(), device=out.device).view(out.shape)
        out.backward((flat % 3 - 1).to(out.dtype))
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    seconds = time.perf_counter() - began
    weight = layer._parameters["weight"]
    gradients = [weight.grad, x.grad] if backward and weight is not None else []
    kept = [out.detach(), *(g for g in gradients if g is not None)]
    return _Results(tuple(t.float().cpu() for t in kept), seconds)


def _soil(x: Tensor) -> None:
    """Leave NaN in the memory that the next tensors get: a kernel that forgets to write a part of
    its result is then seen, and does not pass by luck on fresh pages of zeros."""
    if x.device.type == "cpu":
        sizes = [2**n for n in range(8, 21)]
        soiled = [torch.full((size,), math.nan) for size in sizes for _ in range(2)]
        del soiled


def _error(found: Tensor, exact: Tensor) -> float:
    if not torch.isfinite(found).all():
        return math.inf
    return float((found - exact).norm() / exact.norm().clamp(min=1e-30))


class _Cache:
    """Findings on disk, one file per machine; a file that cannot be read counts as empty, since
    what it held can be found again."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        here = processor()
        self.where = "this processor"
        machine: list[object] = [here.name, here.architecture, *sorted(here.features), here.cap]
        machine += [torch.get_num_threads(), torch.get_float32_matmul_precision()]
        if device.type == "cuda":
            self.where = torch.cuda.get_device_name(device)
            machine = [self.where, *torch.cuda.get_device_capability(device)]
        identity = json.dumps([*machine, torch.__version__, os.environ.get("DNNL_MAX_CPU_ISA")])
        self._path = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"

    def read(self) -> dict[str, LayerFinding]:
        return dict(_read(self._path))

    def add(self, fresh: Mapping[str, LayerFinding]) -> bool:
        """Add to what other processes have written meanwhile; False where that cannot be."""
        if not fresh:
            return True
        try:
            make_parent(self._path)
            with locked(self._path.with_suffix(".lock")):
                together = {**self.read(), **fresh}
                rows = {key: asdict(finding) for key, finding in sorted(together.items())}
                write_text(self._path, json.dumps(rows, indent=0) + "\n")
        except (OSError, InputError):
            return False
        return True


def _read(path: Path) -> Iterator[tuple[str, LayerFinding]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        for key, row in rows.items():
            yield str(key), LayerFinding(**{name: float(value) for name, value in row.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return
