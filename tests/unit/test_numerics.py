"""Right on every processor: what it can do, what `auto` is, and what the probe finds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tubelet
from tubelet.errors import ConfigError
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.layers.conv import Conv3d
from tubelet.numerics import processor as processor_module
from tubelet.numerics.gradients import agreements
from tubelet.numerics.layers import (
    LayerCall,
    in_fp32,
    is_channels_last,
    keep_in_fp32,
    layer_calls,
    may_crash,
    reduced,
    release,
)
from tubelet.numerics.precision import autocast, resolve
from tubelet.numerics.prepare import TriedAutocast, prepare
from tubelet.numerics.probe import TOLERANCE, ProbeReport, probe, try_layer
from tubelet.numerics.processor import Processor, believe, processor
from tubelet.train.model.norms import batch_norms, normalised_by

CPU = torch.device("cpu")
LAPTOP = Processor(name="laptop", architecture="x86_64", features=frozenset({"avx2", "avx512_f"}))
SERVER = replace(LAPTOP, name="server", features=LAPTOP.features | {"avx512_bf16", "amx_bf16"})


# The processor


XEON = """processor : 0
model name\t: Intel(R) Xeon(R) Platinum
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile
"""
SKYLAKE = "model name : Skylake\nflags : avx2 avx512f avx512bw\n"
GRAVITON = "processor : 0\nFeatures : fp asimd bf16 i8mm\n"


@pytest.mark.parametrize(
    ("text", "name", "features"),
    [
        (XEON, "Intel(R) Xeon(R) Platinum", {"avx2", "avx512_f", "avx512_vnni", "avx512_bf16"}),
        (SKYLAKE, "Skylake", {"avx2", "avx512_f"}),
        (GRAVITON, "", {"neon", "bf16"}),
    ],
)
def test_proc_is_read_where_torch_does_not_tell(
    tmp_path: Path, text: str, name: str, features: set[str]
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    told, found = processor_module._from_proc(tmp_path / "cpuinfo")
    assert told == name
    assert found - {"amx_bf16"} == features
    assert ("amx_bf16" in found) == (text == XEON)
    assert processor_module._from_proc(tmp_path / "none") == ("", frozenset())


def test_apple_is_asked_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"machdep.cpu.brand_string": "Apple M4", "hw.optional.arm.FEAT_BF16": "1"}
    monkeypatch.setattr(processor_module, "_sysctl", lambda key: told.get(key, ""))
    assert processor_module._from_apple() == ("Apple M4", frozenset({"bf16"}))


@pytest.mark.parametrize(
    ("cap", "bf16", "amx"),
    [
        ("AVX2", False, False),
        ("AVX512_CORE", False, False),
        ("avx512_core_bf16", True, False),
        ("DEFAULT", True, True),
        (None, True, True),
    ],
)
def test_onednns_cap_hides_units(
    monkeypatch: pytest.MonkeyPatch, cap: str | None, bf16: bool, amx: bool
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    if cap is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    monkeypatch.setattr(processor_module, "_from_torch", lambda: ("server", SERVER.features))
    here = processor_module._here.__wrapped__()
    assert (here.has_bf16, here.has_amx) == (bf16, amx)


def test_nothing_else_asks_about_processors() -> None:
    source = Path(tubelet.__file__).parent
    words = (
        "get_capabilities",
        "get_device_capability",
        "cpuinfo",
        "cpu_capability",
        "MAX_CPU_ISA",
    )
    for path in source.rglob("*.py"):
        if "numerics" not in path.relative_to(source).parts:
            text = path.read_text(encoding="utf-8")
            assert not [word for word in words if word in text], path


# Which precision


def test_auto_is_bf16_only_where_the_processor_has_units_for_it() -> None:
    arm = Processor(name="arm", architecture="aarch64", features=frozenset({"neon", "bf16"}))
    for here, meant in ((LAPTOP, "fp32"), (SERVER, "bf16"), (arm, "fp32")):
        with believe(here):
            assert processor() is here
            assert resolve("auto", CPU) == meant
            assert resolve("bf16", CPU) == "bf16"
            assert resolve("fp32", CPU) == "fp32"
    with pytest.raises(ConfigError, match="unknown precision"):
        resolve("fp64", CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize(("capability", "meant"), [((7, 5), "fp32"), ((8, 0), "bf16")])
def test_auto_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], meant: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve("auto", torch.device("cuda")) == meant


# Layers


class Twisted(torch.autograd.Function):
    """The identity; its gradient has the wrong sign in bf16."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return -gradients[0] if gradients[0].dtype == torch.bfloat16 else gradients[0]


class Broken(nn.Linear):
    """A linear layer as on a processor whose bf16 gradients are wrong."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        out: Tensor = Twisted.apply(super().forward(input))  # type: ignore[no-untyped-call]
        return out


class Net(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def calls_on(model: nn.Module, shape: tuple[int, ...]) -> Mapping[str, LayerCall]:
    with torch.device("meta"):
        import copy

        twin = copy.deepcopy(model).to("meta")
        return layer_calls(twin, lambda: twin(torch.zeros(shape)))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_layer_with_wrong_gradients_runs_in_fp32(cache: Path) -> None:
    torch.manual_seed(0)
    net = Net(nn.Linear(8, 8), Broken(8, 8), nn.Linear(8, 4))
    notes: list[str] = []
    calls = partial(calls_on, net, (16, 8))
    report = prepare(net, calls, device=CPU, precision="bf16", backward=True, note=notes.append)
    assert report is not None
    assert report.fp32 == ("layers.1",)
    assert notes[0].startswith(
        "1 of 3 layers in fp32: its bf16 results are wrong on this processor"
    )

    def gradients(precision: str) -> list[Tensor]:
        net.zero_grad()
        with autocast(CPU, precision):  # type: ignore[arg-type]
            out = net(torch.linspace(-1, 1, 128).view(16, 8))
        out.float().square().sum().backward()
        return [p.grad.clone() for p in net.parameters() if p.grad is not None]

    exact, found = gradients("fp32"), gradients("bf16")
    assert all((a - b).norm() <= 0.05 * b.norm() for a, b in zip(found, exact, strict=True))
    release(net)
    twisted = gradients("bf16")
    assert (twisted[0] - exact[0]).norm() > exact[0].norm()  # as it was before


def test_forward_alone_needs_no_gradients(cache: Path) -> None:
    net = Net(Broken(8, 8))
    report = prepare(
        net, partial(calls_on, net, (16, 8)), device=CPU, precision="bf16", backward=False
    )
    assert report is not None
    assert report.fp32 == ()
    assert str(report).startswith("bf16: all 1 layers agree with fp32 on this processor")


def test_in_fp32_nothing_is_probed() -> None:
    def never() -> Mapping[str, LayerCall]:
        raise AssertionError("asked")

    assert prepare(Net(), never, device=CPU, precision="fp32", backward=True) is None


@pytest.mark.parametrize(("side", "meant"), [(8, "fp32"), (512, "bf16")])
def test_auto_is_fp32_for_models_too_small_to_gain(cache: Path, side: int, meant: str) -> None:
    net = Net(nn.Conv2d(16, 32, 3, padding=1))
    x = torch.zeros(2, 16, side, side)
    [call] = calls_on(net, tuple(x.shape)).values()
    assert call.macs == 2 * side**2 * 32 * 16 * 9
    with believe(SERVER):
        for choice, expected in (("auto", meant), ("bf16", "bf16")):
            context = TriedAutocast(
                net,
                lambda shape: calls_on(net, shape),
                device=CPU,
                precision=choice,  # type: ignore[arg-type]
            )
            with context(x):
                assert torch.is_autocast_enabled("cpu") == (expected == "bf16")


def test_what_crashes_is_never_tried(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lateral = Conv3d(4, 8, (5, 1, 1), (8, 1, 1), (2, 0, 0), bias=False)
    plain = nn.Conv3d(8, 8, (5, 1, 1), (7, 1, 1), (2, 0, 0), bias=False)
    fine = nn.Conv3d(8, 8, (5, 1, 1), (6, 1, 1), (2, 0, 0), bias=False)
    assert [may_crash(layer) for layer in (lateral, plain, fine)] == [True, True, False]
    tried: list[str] = []

    def spy(call: LayerCall, **options: object) -> object:
        tried.append(call.key)
        return try_layer(call, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("tubelet.numerics.probe.try_layer", spy)
    net = Net(lateral, fine)
    report = probe(calls_on(net, (1, 4, 64, 4, 4)), device=CPU, precision="bf16", backward=True)
    assert report.unsafe == ("layers.0",)
    assert len(tried) == 1
    assert "1 could crash the process in bf16" in str(report)


def test_our_convolutions_are_safe_without_a_probe() -> None:
    lateral = Conv3d(4, 8, (5, 1, 1), (8, 1, 1), (2, 0, 0), bias=False)
    x = torch.randn(1, 4, 32, 4, 4)
    with autocast(CPU, "bf16"):
        lower = lateral(x)
    assert lower.dtype == torch.bfloat16
    torch.testing.assert_close(lower, lateral(x).bfloat16(), rtol=0, atol=0)
    half = lateral.bfloat16()  # nor where the weights themselves are bf16
    assert half(x.bfloat16()).dtype == torch.bfloat16


def test_a_kept_layer_gives_the_type_that_autocast_would() -> None:
    layer = nn.Linear(4, 4)
    keep_in_fp32(layer, [""])
    keep_in_fp32(layer, [""])  # once is enough
    x = torch.randn(2, 4)
    with autocast(CPU, "bf16"):
        assert layer(x).dtype == torch.bfloat16
    assert layer(x).dtype == torch.float32
    release(layer)
    assert "forward" not in vars(layer)
    assert in_fp32(layer, x).dtype == torch.float32


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv3d(256, 256, (3, 3, 3), padding=1), (8, 256, 32, 112, 112)),
        (nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), (0, 3, 3)), (8, 3, 64, 256, 340)),
        (nn.Conv2d(64, 64, 3, padding=1), (16, 64, 192, 256)),
        (nn.Linear(1024, 4096), (16, 1568, 1024)),
    ],
)
def test_large_layers_are_tried_on_small_inputs(layer: nn.Module, shape: tuple[int, ...]) -> None:
    small = reduced(LayerCall(layer=layer, input_shape=shape)).input_shape
    assert math.prod(small) <= 3_000_000
    if isinstance(layer, nn.Conv3d | nn.Conv2d):
        for side, kernel in zip(small[2:], layer.kernel_size, strict=True):
            assert side >= 2 * kernel
    tiny = (1, *shape[1:2], *(4 for _ in shape[2:]))
    if not isinstance(layer, nn.Linear):
        assert reduced(LayerCall(layer=layer, input_shape=tiny)).input_shape == tiny


def test_findings_are_kept_for_the_machine(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(nn.Linear(8, 8), nn.Linear(8, 8), Broken(8, 4))
    calls = calls_on(net, (16, 8))
    look = partial(probe, calls, device=CPU, precision="bf16", backward=True)
    first = look()
    assert first.seconds > 0
    [path] = (cache / "numerics").glob("*.json")
    assert len(json.loads(path.read_text())) == 2  # two of the three layers are alike
    monkeypatch.setattr("tubelet.numerics.probe.try_layer", None)
    assert replace(first, seconds=0.0, worst=look().worst) == look()
    monkeypatch.undo()
    monkeypatch.setenv("TUBELET_CACHE", str(cache))
    path.write_text("not JSON")
    assert look().wrong == first.wrong
    with believe(replace(LAPTOP, name="another")):  # what is true here need not be there
        assert look().seconds > 0
    assert len(list((cache / "numerics").glob("*.json"))) == 2


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    net = Net(nn.Linear(8, 8))
    report = probe(
        calls_on(net, (4, 8)),
        device=CPU,
        precision="bf16",
        backward=True,
        folder=tmp_path / "file" / "numerics",
    )
    assert not report.remembered
    assert "cannot be written" in str(report)


def test_a_precision_that_costs_time_is_said() -> None:
    report = ProbeReport(
        precision="bf16",
        where="this processor",
        layers=3,
        wrong=(),
        unsafe=(),
        worst=0.003,
        slowdown=2.3,
        seconds=0.0,
    )
    assert report.slow is not None
    assert "2.3× slower than fp32" in report.slow
    assert replace(report, slowdown=0.9).slow is None


# The layers whose gradients torch 2.13 gets wrong in bf16 on processors with AVX-512

TABLE = {
    "3×1×1 96→32": nn.Conv3d(96, 32, (3, 1, 1), 1, (1, 0, 0), bias=False),
    "3×1×1 64→64": nn.Conv3d(64, 64, (3, 1, 1), 1, (1, 0, 0), bias=False),
    "3×3×3 32→32": nn.Conv3d(32, 32, 3, 1, 1, bias=False),
    "1×7×7 3→64": nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
    "5×7×7 3→8": nn.Conv3d(3, 8, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
}


@pytest.mark.parametrize("size", [(1, 2, 4, 4), (3, 2, 2, 2), (3, 1, 2, 2), (2, 4, 8, 8)])
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("channels_last", [False, True])
def test_prepared_layers_have_right_gradients_here(
    cache: Path, name: str, size: tuple[int, ...], channels_last: bool
) -> None:
    net = Net(TABLE[name])
    if channels_last:
        net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    assert is_channels_last(net) == channels_last
    x = torch.randn(size[0], TABLE[name].in_channels, *size[1:])
    prepare(
        net,
        partial(calls_on, net, tuple(x.shape)),
        device=CPU,
        precision="bf16",
        backward=True,
    )

    def gradient(precision: str) -> Tensor:
        net.zero_grad()
        soil = [torch.full((2**n,), math.nan) for n in range(8, 20)]
        del soil
        with autocast(CPU, precision):  # type: ignore[arg-type]
            out = net(x)
        out.backward(torch.ones_like(out))
        [weight] = net.parameters()
        assert weight.grad is not None
        return weight.grad.clone()

    exact, found = gradient("fp32"), gradient("bf16")
    assert float((found - exact).norm() / exact.norm()) <= TOLERANCE
    release(net)


# Gradients beside those in fp32


def test_agreement_of_gradients() -> None:
    exact = {
        "same": torch.ones(4),
        "turned": torch.ones(4),
        "zero": torch.zeros(2),
        "nan": torch.ones(1),
    }
    found = {
        "same": torch.ones(4) * 1.01,
        "turned": torch.tensor([1.0, 1.0, -1.0, -1.0]),
        "zero": torch.zeros(2),
        "nan": torch.tensor([math.nan]),
    }
    by_name = {a.name: a for a in agreements(exact, found)}
    assert by_name["same"].ratio == pytest.approx(1.01)
    assert [name for name, a in by_name.items() if a.far] == ["turned", "nan"]
    assert by_name["zero"].cosine == 1.0
    assert "turned (norm × 1, cosine 0)" in str(by_name["turned"])


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 1, 1), (5, 1, 1)])
def test_one_thread_takes_onednn_with_equal_results(kernel: tuple[int, int, int]) -> None:
    """torch's heuristic leaves these to its slow kernel."""
    padding, threads = (kernel[0] // 2, 0, 0), torch.get_num_threads()
    layer = Conv3d(16, 24, kernel, (2, 1, 1) if kernel[0] == 3 else 1, padding)
    x = torch.randn(2, 16, 8, 9, 11, generator=torch.Generator().manual_seed(0))
    try:
        torch.set_num_threads(1)
        with torch.inference_mode():
            found = layer(x)
            assert deepcopy(layer).to("meta")(x.to("meta")).shape == found.shape
        expected = nn.Conv3d.forward(layer, x)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [16, 32])
def test_gradients_are_right_where_a_map_is_one_cell(side: int) -> None:
    """Torch's batch norm has wrong ones there if its input and its gradient lie differently, as
    they do where it normalises slot by slot."""
    torch.manual_seed(0)
    net = ResNet3dConfig(blocks=(1, 1, 1, 1), width=2).build().double()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm3d):
            nn.init.ones_(norm.weight)  # of a residual's last one, too
    clip = torch.randn(8, 3, 2, side, side, dtype=torch.float64)
    parameter = net.stem.conv_norm.norm.weight

    def loss() -> Tensor:
        with normalised_by(batch_norms(net), [torch.arange(0, 8, 2), torch.arange(1, 8, 2)]):
            pooled = net(clip)[0].values.mean(dim=(2, 3, 4))
            weights = torch.linspace(-1, 1, pooled.shape[1], dtype=pooled.dtype)
            value: Tensor = (pooled * weights).sin().sum()
            return value

    loss().backward()
    assert parameter.grad is not None
    found, step = parameter.grad[0].item(), 1e-6
    parameter.data[0] += step
    above = loss().item()
    parameter.data[0] -= 2 * step
    assert (above - loss().item()) / (2 * step) == pytest.approx(found, rel=1e-4)
