"""Encoders of transformers as backbones: tokens, pooled and classified, equal the originals'."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.originals import TOLERANCE, fill, relative_error
from torch import Tensor, nn

from tubelet.models.backbones.hf import HubBackbone, HubConfig
from tubelet.models.encoders import settings_text

transformers = pytest.importorskip("transformers", reason="needs the extra tubelet[hf]")

NETWORKS = (
    "hf_timesformer_cls_tiny",
    "hf_videomae_cls_tiny",
    "hf_videoprism_vision_tiny",
    "hf_vivit_cls_tiny_module_names",
    "hf_vjepa2_cls_tiny",
)
SCRAMBLED = {"hf_timesformer_cls_tiny": "4x64x64"}
"""Its layers divide tokens by the configured number of frames, whatever the clip's: with another
number the original mixes places and times, and ours does not."""
_FOREIGN = ("architectures", "transformers_version")


def original(about: dict[str, Any]) -> nn.Module:
    """The upstream model, filled by the names of its files."""
    said = {k: v for k, v in about["overrides"].items() if k not in _FOREIGN}
    settings = transformers.AutoConfig.for_model(said.pop("model_type"), **said)
    model = getattr(transformers, about["overrides"]["architectures"][0])(settings).eval()
    files = about.get("module_to_file", {})
    state = {n: fill(files.get(n, n), list(t.shape)) for n, t in model.state_dict().items()}
    assert {files.get(n, n) for n in state} == set(about["state_dict"])
    model.load_state_dict(state)
    built: nn.Module = model
    return built


def ours(model: Any, *, dense: bool) -> HubBackbone:
    """Our backbone with the upstream model's weights."""
    config = HubConfig(id="tiny", settings=settings_text(model.config), detection=dense)
    backbone = config.build().eval()
    facts = backbone.facts
    encoder = getattr(model, facts.base) if facts.base else model
    encoder = getattr(encoder, facts.part) if facts.part else encoder
    backbone.encoder.load_state_dict(encoder.state_dict())
    if backbone.pooler is not None:
        source = getattr(model, "fc_norm", None) or model.pooler
        backbone.pooler.load_state_dict(source.state_dict())
    return backbone


def logits(model: Any, backbone: HubBackbone, clip: Tensor) -> Tensor:
    values = backbone(clip)[0].values
    if not backbone.facts.base:  # the bare encoder: its tokens are the golden's output
        tokens: Tensor = values.flatten(2).transpose(1, 2)
        return tokens
    out: Tensor = model.classifier(values.flatten(1))
    return out


@pytest.mark.parametrize("name", NETWORKS)
def test_tokens_and_classes_equal_the_originals(
    name: str, shared: Path, record_property: Callable[[str, Any], None]
) -> None:
    folder = shared / "golden" / "more"
    about, truth = (
        json.loads((folder / f"{name}.json").read_text()),
        np.load(folder / f"{name}.npz"),
    )
    model = original(about)
    backbone = ours(model, dense=name == "hf_videoprism_vision_tiny")
    sizes = {"": about["input_shape"]}
    sizes |= {f"_{k}": s for k, s in (about.get("extra_input_shapes") or {}).items()}
    for suffix, shape in sizes.items():
        clip = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            found = logits(model, backbone, clip)
        error = relative_error(found, truth[f"gs_f64_logits{suffix}"])
        record_property(f"relative_error{suffix}", error)
        if SCRAMBLED.get(name) == suffix[1:] != "":
            assert error > 0.1
            continue
        assert error < TOLERANCE, suffix
        output = found.softmax(-1) if backbone.facts.base else found
        assert relative_error(output, truth[f"gs_f64_output{suffix}"]) < TOLERANCE, suffix


def test_timesformer_scrambles_other_frame_counts_and_we_do_not(shared: Path) -> None:
    """With the configured number of frames left as it is, the original's own numbers come out."""
    folder = shared / "golden" / "more"
    about = json.loads((folder / "hf_timesformer_cls_tiny.json").read_text())
    truth = np.load(folder / "hf_timesformer_cls_tiny.npz")["gs_f64_logits_4x64x64"]
    model: Any = original(about)
    clip = torch.randn(1, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = model(pixel_values=clip.transpose(1, 2)).logits
    assert relative_error(found, truth) < TOLERANCE


def test_vjepa2_places_film_that_is_no_square(shared: Path) -> None:
    """The original counts rows and columns of its configured square. On a single step of 4×6 cells
    it is right if that square is six cells wide: ours is right with a square of four as well, where
    the original is not."""
    about = json.loads((shared / "golden" / "more" / "hf_vjepa2_cls_tiny.json").read_text())
    narrow: Any = original(about)
    about["overrides"]["crop_size"] = 96
    wide: Any = original(about)
    clip = torch.randn(1, 3, 2, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        truth = wide.vjepa2(clip.transpose(1, 2), skip_predictor=True).last_hidden_state
        theirs = narrow.vjepa2(clip.transpose(1, 2), skip_predictor=True).last_hidden_state
        found = ours(narrow, dense=True)(clip)[0].values.flatten(2).transpose(1, 2)
    assert relative_error(found, truth.double().numpy()) < TOLERANCE
    assert relative_error(theirs, truth.double().numpy()) > 0.001
