"""Read an architecture back from the names and shapes of its tensors (ours, after renaming).

What a tensor cannot say (strides, α, pooling of non-local keys, norm epsilon) stays as the foreign
family's `base` configuration has it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace

from tubelet.convert.facts import Facts
from tubelet.convert.family import PublishedBackboneConfig
from tubelet.convert.rules import Shapes
from tubelet.errors import CheckpointError
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig, matched_planes
from tubelet.models.backbones.r3d import R3dConfig
from tubelet.models.backbones.resnet3d import C2D, FAST, I3D, SLOW, Patterns, ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.vit import ViTConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.backbones.x3d import X3DConfig
from tubelet.models.layers.resnet3d import BLOCKS, Blocks


def infer_backbone(
    shapes: Shapes, base: PublishedBackboneConfig, facts: Facts | None = None
) -> PublishedBackboneConfig:
    """`base` with every field that `shapes` settle. Raises CheckpointError if none can be.

    `facts`: a joint ViViT's table of positions does not say how it divides; its frames do.
    """
    try:
        if isinstance(base, SlowFastConfig):
            return _slowfast(shapes, base)
        if isinstance(base, ResNet3dConfig):
            return _resnet3d(shapes, base)
        if isinstance(base, CSNConfig):
            return _csn(shapes, base)
        if isinstance(base, R2Plus1dConfig):
            return _r2plus1d(shapes, base)
        if isinstance(base, R3dConfig):
            return _r3d(shapes, base)
        if isinstance(base, X3DConfig):
            return _x3d(shapes, base)
        if isinstance(base, ViTConfig):
            return _vit(shapes, base)
        return _vivit(shapes, base, facts or Facts())
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            "the tensors fit no architecture of this family",
            got=error,
            hint="name the architecture, see `tubelet models`",
            arguments=("name",),
        ) from error


def _blocks(shapes: Shapes, stages: str) -> Blocks:
    pattern = re.compile(rf"backbone\.{stages}\.(\d)\.(\d+)\..*")
    last = [-1, -1, -1, -1]
    for name in shapes:
        if match := pattern.fullmatch(name):
            stage, block = int(match[1]), int(match[2])
            last[stage] = max(last[stage], block)
    if min(last) < 0:
        raise KeyError(f"backbone.{stages}")
    return (last[0] + 1, last[1] + 1, last[2] + 1, last[3] + 1)


def _depth(blocks: Blocks, *, basic: bool = False) -> tuple[int, Blocks | None]:
    """Depth whose blocks these are, or explicit blocks where no depth has them."""
    depths = (18, 34) if basic else (50, 101, 152)
    known = next((d for d in depths if BLOCKS[d] == blocks), None)
    return (depths[0], blocks) if known is None else (known, None)


def _kernels(shapes: Shapes, stages: str, stage: int, count: int) -> list[int]:
    return [shapes[f"backbone.{stages}.{stage}.{b}.a.conv.weight"][2] for b in range(count)]


def _attention(shapes: Shapes, stages: str, stage: int, count: int) -> tuple[int, ...]:
    name = "backbone.{}.{}.{}.attention.g.weight"
    return tuple(b for b in range(count) if name.format(stages, stage, b) in shapes)


def _slowfast(shapes: Shapes, base: SlowFastConfig) -> SlowFastConfig:
    blocks = _blocks(shapes, "slow_stages")
    depth, explicit = _depth(blocks)
    width = shapes["backbone.slow_stem.conv_norm.conv.weight"][0]
    fast = shapes["backbone.fast_stem.conv_norm.conv.weight"][0]
    bare = "backbone.laterals.0.body.weight"
    lateral = shapes[bare if bare in shapes else "backbone.laterals.0.body.conv.weight"]
    counts = {"slow": blocks, "fast": _blocks(shapes, "fast_stages")}
    temporal = {
        path: sum(k > 1 for k in _kernels(shapes, f"{path}_stages", 2, count[2]))
        for path, count in counts.items()
    }
    fast_depth, _ = _depth(counts["fast"])
    return replace(
        base,
        depth=depth,
        blocks=explicit,
        width=width,
        beta_inv=width // fast,
        fusion_kernel=lateral[2],
        fusion_ratio=lateral[0] // fast,
        fast_depth=None if counts["fast"] == blocks else fast_depth,
        slow_temporal=None if temporal["slow"] == blocks[2] else temporal["slow"],
        fast_temporal=None if temporal["fast"] == counts["fast"][2] else temporal["fast"],
        nonlocal_res3=_attention(shapes, "slow_stages", 1, blocks[1]),
        nonlocal_res4=_attention(shapes, "slow_stages", 2, blocks[2]),
        lateral_norm=bare not in shapes,
    )


def _patterns(kernels: list[list[int]]) -> Patterns:
    """The shortest pattern of each stage, named ones first."""
    for known in (SLOW, FAST, I3D, C2D):
        if all(
            k == [p[i % len(p)] for i in range(len(k))] for k, p in zip(kernels, known, strict=True)
        ):
            return known
    a, b, c, d = ((k[0],) if len(set(k)) == 1 else tuple(k) for k in kernels)
    return (a, b, c, d)


def _resnet3d(shapes: Shapes, base: ResNet3dConfig) -> ResNet3dConfig:
    blocks = _blocks(shapes, "stages")
    depth, explicit = _depth(blocks)
    stem = shapes["backbone.stem.conv_norm.conv.weight"]
    temporal = _patterns([_kernels(shapes, "stages", s, n) for s, n in enumerate(blocks)])
    a, b, c, d = after = tuple(_attention(shapes, "stages", s, n) for s, n in enumerate(blocks))
    first = next(((s, found[0]) for s, found in enumerate(after) if found), None)
    attention = base.attention
    if first and f"backbone.stages.{first[0]}.{first[1]}.attention.theta.weight" not in shapes:
        attention = replace(attention, kind="gaussian")
    return replace(
        base,
        depth=depth,
        blocks=explicit,
        width=stem[0],
        stem_temporal=stem[2],
        temporal=temporal,
        pool_time=base.pool_time or (temporal == I3D and stem[2] == 5),
        nonlocal_after=(a, b, c, d),
        attention=attention,
    )


def _csn(shapes: Shapes, base: CSNConfig) -> CSNConfig:
    depth, blocks = _depth(_blocks(shapes, "stages"))
    return replace(
        base,
        depth=depth,
        blocks=blocks,
        width=shapes["backbone.stem.conv_norm.conv.weight"][0],
        preserved="backbone.stages.0.0.b.mix.conv.weight" in shapes,
    )


def _r3d(shapes: Shapes, base: R3dConfig) -> R3dConfig:
    found = _blocks(shapes, "stages")
    depth, blocks = _depth(found, basic=True)
    stem = shapes["backbone.stem.conv_norm.conv.weight"]
    a, b, c, d = (_kernels(shapes, "stages", stage, 1)[0] for stage in range(4))
    return replace(
        base,
        depth=depth,
        blocks=blocks,
        width=stem[0],
        temporal=(a, b, c, d),
        stem_temporal=stem[2],
    )


def _x3d(shapes: Shapes, base: X3DConfig) -> X3DConfig:
    outputs = "backbone.stages.{}.0.c.conv.weight"
    a, b, c, d = (shapes[outputs.format(stage)][0] for stage in range(4))
    inner = shapes[outputs.format(0)][1]
    return replace(
        base, blocks=_blocks(shapes, "stages"), widths=(a, b, c, d), bottleneck=inner / a
    )


def _r2plus1d(shapes: Shapes, base: R2Plus1dConfig) -> R2Plus1dConfig:
    basic = "backbone.stages.0.0.a.space.conv.weight" in shapes
    depth, blocks = _depth(_blocks(shapes, "stages"), basic=basic)
    split = "backbone.stem.time.conv.weight" in shapes
    stem = "backbone.stem.time.conv.weight" if split else "backbone.stem.conv_norm.conv.weight"
    layer = "a" if basic else "b"
    planes, inner = shapes[f"backbone.stages.0.0.{layer}.space.conv.weight"][:2]
    width = shapes[stem][0]
    stem_planes = shapes["backbone.stem.space.conv.weight"][0] if split else None
    return replace(
        base,
        depth=depth,
        blocks=blocks,
        width=width,
        split_stem=split,
        stem_planes=None if stem_planes == width * 45 // 64 else stem_planes,
        stem_pool=split and (base.stem_pool or not basic),
        split_shortcut="backbone.stages.1.0.shortcut.space.conv.weight" in shapes,
        matched=planes == matched_planes(inner, inner),
        own_planes=basic and _own_planes(shapes),
    )


def _own_planes(shapes: Shapes) -> bool:
    first, second = (shapes[f"backbone.stages.1.0.{x}.space.conv.weight"][0] for x in "ab")
    return first != second


def _layers(shapes: Shapes, encoder: str) -> int:
    pattern = re.compile(rf"backbone\.{encoder}\.blocks\.(\d+)\..*")
    found: Iterator[int] = (int(m[1]) for n in shapes if (m := pattern.fullmatch(n)))
    return max(found, default=-1) + 1


def _vivit(shapes: Shapes, base: ViViTConfig, facts: Facts) -> ViViTConfig:
    width, _, *tubelet = shapes["backbone.embed.weight"]
    temporal = _layers(shapes, "time_encoder")
    tokens = shapes["backbone.position"][1] - 1
    if temporal:
        side = math.isqrt(tokens)
        positions = (shapes["backbone.time_position"][1] - 1, side, side)
    else:
        positions = _joint_positions(tokens, tubelet[0], base, facts)
    if math.prod(positions[0 if not temporal else 1 :]) != tokens:
        raise ValueError(
            f"{tokens} position embeddings are not a grid of {positions}; state the positions"
        )
    return replace(
        base,
        width=width,
        layers=_layers(shapes, "encoder"),
        temporal_layers=temporal,
        mlp=shapes["backbone.encoder.blocks.0.fc1.weight"][0],
        tubelet=(tubelet[0], tubelet[1], tubelet[2]),
        positions=positions,
        heads=max(1, width // 64),
    )


def _joint_positions(
    tokens: int, step: int, base: ViViTConfig, facts: Facts
) -> tuple[int, int, int]:
    """A joint table does not say how its tokens divide: as stated, by the frames, or as usual."""
    if facts.positions is not None:
        return facts.positions
    if facts.frames is None:
        return base.positions
    steps = max(1, facts.frames // step)
    side = math.isqrt(tokens // steps)
    return (steps, side, side)


def _vit(shapes: Shapes, base: ViTConfig) -> ViTConfig:
    """A table of positions that the file brings is for 14×14 cells per step, 224 pixels: it says
    how many tokens there are, not how they divide."""
    width, _, *tubelet = shapes["backbone.embed.weight"]
    positions = base.positions
    learned = "backbone.position" in shapes
    if learned:
        steps, rest = divmod(shapes["backbone.position"][1], math.prod(positions[1:]))
        if rest:
            raise ValueError(
                f"{shapes['backbone.position'][1]} position embeddings are not a number of steps "
                f"of {positions[1]}×{positions[2]} tokens"
            )
        positions = (steps, *positions[1:])
    scaled = "backbone.encoder.blocks.0.scale1" in shapes
    heads = 16 if width in (1280, 1408) else max(1, width // 64)  # H and g: heads of 80 and 88
    return replace(
        base,
        width=width,
        layers=_layers(shapes, "encoder"),
        heads=heads,
        mlp=shapes["backbone.encoder.blocks.0.fc1.weight"][0],
        tubelet=(tubelet[0], tubelet[1], tubelet[2]),
        positions=positions,
        learned=learned,
        key_bias="backbone.encoder.blocks.0.qkv.bias" in shapes,
        layer_scale=1e-5 if scaled else None,
    )
