"""One clip's forward pass: a plain torch model in fp32, tubelet's own way, and other engines.

    python -m benchmarks.forward slowfast_r50_8x8 --size 256 --rounds 5 [--engines]
    ONEDNN_MAX_CPU_ISA=AVX512_CORE python -m benchmarks.forward …   # as without bf16 units

The plain model stands in for the peers' code: the same network of `torch.nn.Conv3d`, contiguous,
batch norms as trained, fp32, eager. All run in turn in one process; medians of wall and processor
seconds, the latter being what counts on a machine that others use too. `--engines` makes the
model's graph first, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from types import MethodType

import torch
from torch import Tensor, nn

from tubelet.engines.choices import EngineChoice
from tubelet.engines.graph import Trial
from tubelet.engines.prepared import engine_for
from tubelet.models.create import create_model
from tubelet.models.detector import ActionModel
from tubelet.models.inference import Inference
from tubelet.models.layers.conv import Conv3d
from tubelet.numerics.processor import processor

CPU = torch.device("cpu")


class Plain:
    """The model as a peer's code would run it."""

    def __init__(self, model: ActionModel) -> None:
        self.model = deepcopy(model).eval()
        for layer in self.model.modules():
            if isinstance(layer, Conv3d):
                layer.forward = MethodType(nn.Conv3d.forward, layer)  # type: ignore[method-assign]

    @torch.inference_mode()
    def scores(self, trial: Trial) -> Tensor:
        """Probabilities of the trial's people."""
        return self.model.scores(self.model(trial.frames, trial.rois))


def trained_looking(model: ActionModel) -> ActionModel:
    """Batch norms with statistics of their own, so that folding them is no rounding to nothing."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm3d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.0)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="slowfast_r50_8x8")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = trained_looking(create_model(options.model)).eval()
    trial = Trial.of(model, (options.size, options.size), clips=1, people=3)
    plain = Plain(model)
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    own: dict[str, Inference] = {
        "tubelet fp32": Inference(model, device=CPU),
        "tubelet auto": Inference(model, device=CPU, precision="auto"),
    }
    engines: tuple[EngineChoice, ...] = ("openvino", "onnxruntime") if options.engines else ()
    for engine in engines:
        running = engine_for(model, engine, precision="auto", note=print)
        own[engine] = Inference(model, device=CPU, engine=running)
    runs: dict[str, Callable[[], Tensor]] = {"plain torch fp32": partial(plain.scores, trial)}
    for name, inference in own.items():
        runs[name] = partial(inference.scores, trial.frames, trial.rois)
    wall, cpu = ({name: list[float]() for name in runs} for _ in range(2))
    found: dict[str, Tensor] = {}
    for turn in range(options.rounds + 1):  # the first warms up
        for name, run in runs.items():
            started, used = time.perf_counter(), time.process_time()
            found[name] = run()
            if turn:
                wall[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - used)
    first = next(iter(runs))
    base_wall, base_cpu = statistics.median(wall[first]), statistics.median(cpu[first])
    rows = {
        name: {
            "wall_s": round(statistics.median(wall[name]), 4),
            "cpu_s": round(statistics.median(cpu[name]), 4),
            "wall_ratio": round(base_wall / statistics.median(wall[name]), 2),
            "cpu_ratio": round(base_cpu / statistics.median(cpu[name]), 2),
            "difference": (found[name] - found[first]).abs().max().item(),
        }
        for name in runs
    }
    told = {"processor": str(processor()), "threads": torch.get_num_threads()}
    print(
        json.dumps({**told, "model": options.model, "size": options.size, "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()
