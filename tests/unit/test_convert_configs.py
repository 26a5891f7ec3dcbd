"""What configs say: MMAction2's Python with its bases, PySlowFast's YAML, text in checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tubelet.convert.configs import said_by_file, said_by_text
from tubelet.convert.facts import Facts
from tubelet.data.untrusted.python_configs import UNREAD, merge, read_file, read_text
from tubelet.errors import InputError

RUNTIME = "default_scope = 'mmaction'\n"
MODEL = """
model = dict(
    type='FastRCNN',
    _scope_='mmdet',
    backbone=dict(
        type='mmaction.ResNet3dSlowFast', resample_rate=8, speed_ratio=8, channel_ratio=8,
        slow_pathway=dict(
            type='resnet3d', depth=50, inflate=(0, 0, 1, 1), spatial_strides=(1, 2, 2, 1))),
    roi_head=dict(
        type='AVARoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor3D', roi_layer_type='RoIAlign', output_size=8,
            with_temporal_pool=True),
        bbox_head=dict(type='BBoxHeadAVA', in_channels=2304, num_classes=81, multilabel=True)),
    data_preprocessor=dict(
        type='mmaction.ActionDataPreprocessor', mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375], format_shape='NCHW'))
"""
CHILD = """
_base_ = ['../_base_/runtime.py', '../_base_/slowfast.py']
url = ('https://download.openmmlab.com/'
       'x.pth')
model = dict(
    init_cfg=dict(type='Pretrained', checkpoint=url),
    backbone=dict(resample_rate=4, speed_ratio=4, slow_pathway=dict(fusion_kernel=7)),
    roi_head=dict(bbox_roi_extractor=dict(temporal_pool_mode='max')))
anno = dict(file='a.csv')
val_pipeline = [
    dict(type='SampleAVAFrames', clip_len=32, frame_interval=2, test_mode=True),
    dict(type='RawFrameDecode', **anno),
]
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
"""
MULTISPORTS = """
_base_ = ['../_base_/slowfast.py']
num_classes = 66
model = dict(roi_head=dict(bbox_head=dict(
    background_class=False, multilabel=False, num_classes=num_classes)))
"""
OLD = """
model = dict(
    type='Recognizer3D',
    backbone=dict(type='ResNet3d', depth=50, conv1_stride_t=1, pool1_stride_t=1,
                  non_local=((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
                  non_local_cfg=dict(sub_sample=True, mode='dot_product')),
    cls_head=dict(type='I3DHead', num_classes=400))
img_norm_cfg = dict(mean=[110.2008, 100.63983, 95.99475], std=[58.1, 56.4, 55.3], to_bgr=False)
clip = 4 * 8
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=clip, frame_interval=2, num_clips=10)]
data = dict(test=dict(pipeline=test_pipeline))
"""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    for name, text in (
        ("_base_/runtime.py", RUNTIME),
        ("_base_/slowfast.py", MODEL),
        ("ava/child.py", CHILD),
        ("ava/multisports.py", MULTISPORTS),
        ("ava/old.py", OLD),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path / "ava"


def test_a_detector_with_its_bases(configs: Path) -> None:
    said = said_by_file(configs / "child.py")
    assert said.source == "the config child.py"
    mean, std = said.facts.mean, said.facts.std
    assert mean is not None and std is not None
    assert mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-6)
    assert said.facts == Facts(
        task="detection",
        exclusive=False,
        background=True,
        colour="rgb",
        frames=32,
        stride=2,
        alpha=4,
        temporal_pool="max",
        aligned=True,
        roi_bins=8,
        mean=mean,
        std=std,
    )


def test_multisports_has_no_background_and_a_softmax(configs: Path) -> None:
    facts = said_by_file(configs / "multisports.py").facts
    assert (facts.background, facts.exclusive, facts.alpha) == (False, True, 8)
    assert facts.frames is None  # no pipeline: nothing is said of the clip


def test_an_older_recogniser(configs: Path) -> None:
    facts = said_by_file(configs / "old.py").facts
    assert (facts.frames, facts.stride) == (32, 2)
    assert facts.time_strides == (1, 1, 2)  # I3D heavy; pool2 by default
    assert (facts.nonlocal_kind, facts.colour) == ("dot_product", "rgb")
    assert facts.mean == pytest.approx((0.4322, 0.3947, 0.3764), abs=1e-4)


SLOWFAST = """
model = dict(
    backbone=dict(type='ResNet3dSlowFast', resample_rate=8, speed_ratio=4),
    cls_head=dict(type='SlowFastHead', num_classes=400){more})
test_pipeline = [dict(type='SampleFrames', clip_len=64, frame_interval=1)]
"""


def test_the_order_of_pathways_is_known_of_mmaction2_1_alone() -> None:
    new = said_by_text(SLOWFAST.format(more=", data_preprocessor=dict()"), "here").facts
    old = said_by_text(SLOWFAST.format(more=""), "here").facts
    assert (new.join, old.join) == ("fast_slow", None)
    # The Fast pathway sees every other frame of what the loader reads.
    assert (new.frames, new.stride, new.alpha) == (32, 2, 4)


def test_what_would_have_to_run_stays_unread() -> None:
    text = """
import os
a = os.environ.get('FRAMES')
b = [x for x in range(3)]
c = dict(type='A', n=len('abc'), m=-1)
d = [1, *[2, 3], (4,)]
e = {**c, 'k': 'v' + 'w'}
e['n'] = 5
f = c['m'] if a else 2
model = dict(x=e)
model.update(y=1)
for g in b:
    h = g
"""
    found = read_text(text, where="here")
    assert found["a"] is found["b"] is found["f"] is found["g"] is found["h"] is UNREAD
    assert found["c"]["n"] is UNREAD and found["c"]["m"] == -1
    assert found["d"] == [1, 2, 3, (4,)]
    assert (found["e"]["k"], found["e"]["n"]) == ("vw", 5)
    assert found["model"] is UNREAD  # something was done to it


@pytest.mark.parametrize(
    "below, above, both",
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"b": {"c": 2}}, {"b": {"_delete_": True, "d": 3}}, {"b": {"d": 3}}),
        ({"b": [1, 2]}, {"b": [3]}, {"b": [3]}),
        ({}, {"b": {"_delete_": True, "c": 1}}, {"b": {"c": 1}}),
    ],
)
def test_inheritance(below: Any, above: Any, both: Any) -> None:
    assert merge(below, above) == both


def test_bases_in_a_circle_and_absent_ones(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("_base_ = 'b.py'\n")
    (tmp_path / "b.py").write_text("_base_ = 'a.py'\n")
    with pytest.raises(InputError, match="circular"):
        read_file(tmp_path / "a.py")
    (tmp_path / "b.py").unlink()
    with pytest.raises(InputError, match="put it there"):
        read_file(tmp_path / "a.py")
    (tmp_path / "a.py").write_text("model = (((\n")
    with pytest.raises(InputError, match="invalid Python"):
        read_file(tmp_path / "a.py")


AVA = """
MODEL:
  NUM_CLASSES: 80
  ARCH: slowfast
  HEAD_ACT: sigmoid
DETECTION:
  ENABLE: True
  ALIGNED: False
DATA:
  NUM_FRAMES: 64
  SAMPLING_RATE: 2
SLOWFAST:
  ALPHA: 4
NONLOCAL:
  POOL: [[[2, 2, 2], [2, 2, 2]], [[2, 2, 2], [2, 2, 2]], [[2, 2, 2], [2, 2, 2]], [[2, 2, 2]]]
RESNET:
  SPATIAL_STRIDES: [[1, 1], [2, 2], [2, 2], [1, 1]]
  SPATIAL_DILATIONS: [[1, 1], [1, 1], [1, 1], [2, 2]]
"""


def test_a_yaml_file_has_the_programs_defaults(tmp_path: Path) -> None:
    (tmp_path / "ava.yaml").write_text(AVA)
    facts = said_by_file(tmp_path / "ava.yaml").facts
    assert facts == Facts(
        task="detection",
        exclusive=False,
        colour="rgb",
        frames=64,
        stride=2,
        alpha=4,
        aligned=False,
        roi_bins=7,
        res5_dilation=2,
        nonlocal_kind="dot_product",
        nonlocal_pool=(2, 2, 2),
        train_crop=224,
        short_side=256,
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
    )


def test_a_dump_says_what_it_holds_and_no_more() -> None:
    facts = said_by_text("DATA:\n  NUM_FRAMES: 16\n", "the checkpoint").facts
    assert facts.given() == {"frames": 16}


def test_charades_by_its_dump(shared: Path) -> None:
    name = "sf_Charades_SLOWFAST_16x8_R50_cls_64"
    about = json.loads((shared / "golden" / "more" / f"{name}.json").read_text())
    facts = said_by_text(about["cfg_text"], "the checkpoint").facts
    assert (facts.task, facts.exclusive, facts.colour) == ("classification", False, "bgr")
    assert (facts.frames, facts.stride, facts.alpha, facts.train_crop) == (64, 2, 4, 224)


@pytest.mark.parametrize(
    "section, arch, strides",
    [("c2d", "c2d", (1, 1, 2)), ("nopool", "c2d_nopool", (1, 1, 1)), ("i3d", "i3d", (1, 1, 2))],
)
def test_the_architecture_says_what_pools_time(
    section: str, arch: str, strides: tuple[int, int, int]
) -> None:
    said = said_by_text(f"MODEL:\n  ARCH: {arch}\n", section)
    assert said.facts.time_strides == strides


def test_the_json_of_hugging_face(tmp_path: Path) -> None:
    names = {"1": "walk", "0": "run"}
    said = {"model_type": "vivit", "num_attention_heads": 12, "num_frames": 32, "image_size": 224}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**said, "tubelet_size": [2, 16, 16], "id2label": names}))
    facts = said_by_file(path).facts
    assert facts.labels is not None and facts.labels.names == ("run", "walk")
    assert (facts.heads, facts.frames, facts.positions) == (12, 32, (16, 14, 14))
    assert (facts.exclusive, facts.stride) == (True, None)
    multi = {"problem_type": "multi_label_classification", "id2label": {"0": "LABEL_0"}}
    sizes = {"model_type": "videomae", "tubelet_size": 2, "patch_size": 16, "num_frames": 16}
    path.write_text(json.dumps({**said, **sizes, **multi}))
    facts = said_by_file(path).facts
    assert (facts.exclusive, facts.positions, facts.labels) == (False, (8, 14, 14), None)
    for text in ("{", '{"model_type": "vivit"}', '{"model_type": "bert"}'):
        path.write_text(text)
        with pytest.raises(InputError):
            said_by_file(path)


@pytest.mark.parametrize(
    "text, match",
    [
        ("DATA:\n  NUM_FRAMES: many\n", "wrong type"),
        ("DATA:\n  REVERSE_INPUT_CHANNEL: 3\n", "wrong type"),
        ("DATA: [", "not plain YAML"),
        (
            "DETECTION:\n  ENABLE: true\nRESNET:\n  SPATIAL_STRIDES: [[1], [2], [2], [2]]\n",
            "wrong type",
        ),
    ],
)
def test_configs_that_say_nonsense(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=match):
        said_by_file(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "head, context",
    [
        ("bbox_roi_extractor=dict(with_global=True)", "frame"),
        ("shared_head=dict(type='FBOHead', fbo_cfg=dict(type='max'))", "feature_bank"),
        ("bbox_roi_extractor=dict(output_size=8)", None),
    ],
)
def test_what_stands_beside_a_person(head: str, context: str | None) -> None:
    backbone = "type='ResNet3dSlowOnly', spatial_strides=(1, 2, 2, 1)"
    text = f"model = dict(backbone=dict({backbone}), roi_head=dict({head}))\n"
    assert said_by_text(text, "here").facts.context == context


@pytest.mark.parametrize(
    "backbone, head, told",
    [
        ("type='ResNet3dSlowOnly'", "bbox_head=dict(temporal_pool_type='max')", "temporal_pool"),
        ("type='ResNet3dSlowOnly', spatial_strides=(1, 2, 2, 2)", "x=1", "spatial stride 2"),
        ("type='ResNet3dSlowOnly'", "shared_head=dict(type='OtherHead')", "shared_head OtherHead"),
        (
            "type='ResNet3dSlowFast', fast_pathway=dict(conv1_stride_t=2), "
            "slow_pathway=dict(spatial_strides=(1, 2, 2, 1))",
            "x=1",
            "conv1_stride_t 2",
        ),
    ],
)
def test_settings_without_a_counterpart_are_refused(backbone: str, head: str, told: str) -> None:
    if "spatial" not in backbone:
        backbone += ", spatial_strides=(1, 2, 2, 1)"
    text = f"model = dict(backbone=dict({backbone}), roi_head=dict({head}))\n"
    with pytest.raises(InputError, match=told):
        said_by_text(text, "here")


def test_other_files_are_no_configs(tmp_path: Path) -> None:
    for name, text in (("a.txt", "DATA:"), ("a.yaml", "a: 1"), ("a.py", "x = 1")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError):
            said_by_file(tmp_path / name)
