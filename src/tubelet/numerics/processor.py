"""The processor that this process runs on, and the arithmetic it has units for."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

# Instruction sets that matter here, by the names of `torch.cpu.get_capabilities()`; on Arm "bf16".
_SETS = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_fp16", "neon", "bf16")
_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# What /proc/cpuinfo calls them where it differs.
_ALIASES = {"avx512f": "avx512_f", "asimd": "neon"}
# What oneDNN's cap leaves; any other value (DEFAULT, later sets) hides nothing of `_SETS`.
_AVX2 = frozenset({"avx2"})
_AVX512 = _AVX2 | {"avx512_f", "avx512_vnni"}
_CAPS: dict[str, frozenset[str]] = {
    "SSE41": frozenset(),
    "AVX": frozenset(),
    "AVX2": _AVX2,
    "AVX2_VNNI": _AVX2,
    "AVX2_VNNI_2": _AVX2,
    "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": _AVX512,
    "AVX512_CORE_BF16": _AVX512 | {"avx512_bf16"},
    "AVX512_CORE_FP16": _AVX512 | {"avx512_bf16"},
    "AVX10_1_512": _AVX512 | {"avx512_bf16"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """`architecture` as `platform.machine()` names it. `features`: the instruction sets that
    oneDNN may use, after the cap ONEDNN_MAX_CPU_ISA, which `cap` holds."""

    name: str
    architecture: str
    features: frozenset[str]
    cap: str | None = None

    @property
    def has_bf16(self) -> bool:
        """Whether bf16 products are done in hardware, and not by unpacking to fp32."""
        return bool(self.features & _BF16)

    @property
    def has_amx(self) -> bool:
        return "amx_bf16" in self.features

    def __str__(self) -> str:
        sets = ", ".join(s for s in _SETS if s in self.features) or "no vector units we know"
        capped = f", capped at {self.cap}" if self.cap else ""
        return f"{self.name} ({self.architecture}: {sets}{capped})"


_believed: Processor | None = None


def processor() -> Processor:
    """The processor of this process, or the one that `believe` put in its place."""
    return _believed or _here()


@contextmanager
def believe(other: Processor) -> Iterator[None]:
    """Inside the block tubelet assumes that it runs on `other`: for tests of machines that are
    not at hand. What torch computes does not change."""
    global _believed  # noqa: PLW0603  (the one fact about this process that is not a value)
    before, _believed = _believed, other
    try:
        yield
    finally:
        _believed = before


@lru_cache(maxsize=1)
def _here() -> Processor:
    cap = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA")
    name, found = _from_torch()
    if not found:
        name, found = _from_apple() if platform.system() == "Darwin" else _from_proc()
    if cap is not None and cap.upper() in _CAPS:
        found &= _CAPS[cap.upper()]
    return Processor(
        name=name or platform.processor() or "unnamed processor",
        architecture=platform.machine(),
        features=found,
        cap=cap,
    )


def _from_torch() -> tuple[str, frozenset[str]]:
    # torch 2.6, the oldest that is allowed, has not got it yet.
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:
        return "", frozenset()
    told = capabilities()
    return str(told.get("cpu_name", "")), frozenset(s for s in _SETS if told.get(s))


def _from_proc(path: Path = Path("/proc/cpuinfo")) -> tuple[str, frozenset[str]]:
    """Linux, x86 ("flags") and Arm ("Features"); empty where there is no such file."""
    if not path.is_file():
        return "", frozenset()
    name, flags = "", set[str]()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key.lower() in ("flags", "features"):
            flags |= {_ALIASES.get(flag, flag) for flag in value.split()}
        elif key.lower() in ("model name", "hardware") and not name:
            name = value
    return name, frozenset(s for s in _SETS if s in flags)


def _from_apple() -> tuple[str, frozenset[str]]:
    keys = {
        "hw.optional.avx2_0": "avx2",
        "hw.optional.avx512f": "avx512_f",
        "hw.optional.neon": "neon",
        "hw.optional.arm.FEAT_BF16": "bf16",
    }
    found = frozenset(s for key, s in keys.items() if _sysctl(key) == "1")
    return _sysctl("machdep.cpu.brand_string"), found


def _sysctl(key: str) -> str:
    """A value of macOS's kernel; empty where it has no such key."""
    done = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
