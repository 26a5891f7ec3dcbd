"""The public names: pinned, callable with public things, and every error among them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

import tubelet
from tubelet import errors

SOURCE = Path(tubelet.__file__).parent
NAMES = [
    "ActionDetector",
    "ActionModel",
    "ActionModelConfig",
    "Annotations",
    "BackboneConfig",
    "BoxTable",
    "CheckpointError",
    "CollaborativeMemoryConfig",
    "ConfigError",
    "DataError",
    "Detections",
    "Engine",
    "EvaluationProtocol",
    "FeatureMap",
    "FeatureSpec",
    "GivenPeople",
    "HeadConfig",
    "InputError",
    "InputSpec",
    "Key",
    "LabelSpace",
    "LinkConfig",
    "Memory",
    "MemoryBankConfig",
    "OpenQuestions",
    "People",
    "PersonDetector",
    "Preprocessing",
    "Refusal",
    "Rois",
    "ShapeError",
    "Stopped",
    "TrainingError",
    "Tube",
    "TubeletError",
    "Video",
    "VideoError",
    "VideoInfo",
    "__version__",
    "create_model",
    "detections_table",
    "evaluate_files",
    "evaluate_frames",
    "evaluate_tables",
    "export_model",
    "link",
    "load",
    "push_to_hub",
    "read_ava_csv",
    "read_label_map",
    "read_tubes",
    "replace_labels",
    "save_pretrained",
    "save_results",
]


def test_public_names_are_pinned_and_exist() -> None:
    assert tubelet.__all__ == NAMES == dir(tubelet)
    for name in NAMES:
        assert getattr(tubelet, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        tubelet.lod  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    blocks = [n for n in tree.body if isinstance(n, ast.If)]
    imports = [n for block in blocks for n in block.body if isinstance(n, ast.ImportFrom)]
    found = {a.name: n.module for n in imports for a in n.names}
    assert found == {n: f"tubelet.{m}" for n, m in tubelet._PUBLIC.items()}
    assert sorted({*found, "__version__"}) == NAMES


def _calls(value: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    """A function; or a class's constructor and public methods, as far as they are written here."""
    if not inspect.isclass(value):
        yield value.__qualname__, value
        return
    for name, member in inspect.getmembers(value, inspect.isroutine):
        ours = getattr(member, "__module__", "") or ""
        if ours.startswith("tubelet") and (name == "__init__" or not name.startswith("_")):
            yield f"{value.__qualname__}.{name}", member


def _classes(hint: Any) -> Iterator[type]:
    """Every class of the package in a type hint."""
    if inspect.isclass(hint) and hint.__module__.startswith("tubelet"):
        yield hint
    for part in get_args(hint):
        yield from _classes(part)
    if isinstance(hint, list):  # the arguments of a Callable
        for part in hint:
            yield from _classes(part)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "__version__"])
def test_what_is_public_can_be_called_with_public_things(name: str) -> None:
    named = {n: getattr(tubelet, n) for n in NAMES}
    for called, function in _calls(getattr(tubelet, name)):
        scope = {"torch": torch, **named, **getattr(inspect.unwrap(function), "__globals__", {})}
        hints = get_type_hints(function, globalns=scope)
        hints.pop("return", None)
        for argument, hint in hints.items():
            for kind in _classes(hint):
                assert kind in named.values(), (
                    f"{called}({argument}) takes {kind}, which is not public"
                )


def test_every_error_is_public_and_in_the_tree() -> None:
    defined = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                defined[node.name] = (bases, path)
    found = {"TubeletError"}
    for _ in range(5):  # the tree is not that deep
        found |= {name for name, (bases, _) in defined.items() if bases & found}
    assert {defined[name][1].name for name in found} == {"errors.py"}
    assert found <= set(NAMES)
    tree = _tree(str(errors.__doc__))
    assert set(tree) == found
    for name, parent in tree.items():
        base = getattr(errors, name).__base__
        assert base.__name__ == parent or name == "TubeletError"


def _tree(text: str) -> dict[str, str]:
    """Each name of the drawing with the one it hangs on."""
    above: list[tuple[int, str]] = []
    found = {}
    for line in text.splitlines():
        words = line.strip(" │├└─").split()
        if not words or not hasattr(errors, words[0]):
            continue
        depth = line.index(words[0])
        above = [(d, n) for d, n in above if d < depth]
        found[words[0]] = above[-1][1] if above else ""
        above.append((depth, words[0]))
    return found


def test_records_made_by_hand_are_evaluated_with_public_names_alone(tmp_path: Path) -> None:
    labels = tubelet.LabelSpace.of(["walk", "sit"])
    moments = [
        tubelet.Detections(
            key=tubelet.Key(video="v", time_ms=1000 * second),
            boxes=np.array([[0.1, 0.1, 0.5, 0.9]]),
            person_scores=np.ones(1, np.float32),
            action_scores=np.array([[0.9, 0.2]], np.float32),
            track_ids=np.array([-1]),
            labels=labels,
        )
        for second in (1, 2)
    ]
    truth = tmp_path / "truth.csv"
    truth.write_text("v,1,0.1,0.1,0.5,0.9,1,0\nv,2,0.1,0.1,0.5,0.9,2,0\n")
    known = tubelet.read_ava_csv(truth)
    report = tubelet.evaluate_tables(tubelet.detections_table(moments), known, labels)
    saved = tubelet.save_results(tmp_path / "found.csv", moments)
    assert tubelet.evaluate_files(saved, truth, labels=labels).map == report.map

    table = tubelet.BoxTable.of(
        videos=["v"], time_us=[1_000_000], boxes=[[0.1, 0.1, 0.5, 0.9]], labels=[1], scores=[0.9]
    )
    exact = tubelet.evaluate_frames(table, table, tubelet.LabelSpace.of(["walk"]))
    assert exact.map == 1
    (tube,) = tubelet.link(moments, config=tubelet.LinkConfig(iou=0.5))
    tube.save(tmp_path / "tubes.json")
    assert tubelet.read_tubes(tmp_path / "tubes.json").tubes[0].times_ms.tolist() == [1000, 2000]
