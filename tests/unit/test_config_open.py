"""The decoder takes imported subclasses of an extensible kind, and reads what b893a55 wrote."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import tubelet
from tubelet import plugins
from tubelet.batch import Rois
from tubelet.config import Extensible, decode, encode, members_of
from tubelet.data.sources import SOURCES, SourceConfig
from tubelet.errors import ConfigError
from tubelet.models.backbones import BACKBONES
from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.create import model_config
from tubelet.models.heads import HEADS
from tubelet.models.heads.base import HeadConfig
from tubelet.models.weights import load_model, save_model
from tubelet.plugins import families
from tubelet.recipes.own import tuning
from tubelet.train.recipe import Recipe

FIXTURES = Path(__file__).parent.parent / "fixtures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree(Extensible, ABC):
    @abstractmethod
    def leaves(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Birch(Tree):
    height: int = 3

    def leaves(self) -> int:
        return 100 * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    trees: tuple[Tree, ...] = ()
    oldest: Tree | None = None
    sown: Tree | int | str = 0


@pytest.fixture
def without_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(plugins.VARIABLE, "")
    plugins.load_plugins.cache_clear()
    yield
    plugins.load_plugins.cache_clear()


def test_a_strangers_type_carries_its_module_and_is_read_back() -> None:
    forest = Forest(trees=(Birch(), Birch(height=5)), oldest=Birch(height=9))
    written = json.loads(json.dumps(encode(forest)))
    assert written["trees"][0] == {"type": f"{__name__}:Birch", "height": 3}
    assert decode(Forest, written) == forest


@pytest.mark.usefixtures("without_plugins")
def test_an_unknown_type_names_the_nearest_and_the_package_to_import() -> None:
    with pytest.raises(ConfigError, match=rf"did you mean '{__name__}:Birch'"):
        decode(Forest, {"oldest": {"type": "Brich"}})
    with pytest.raises(ConfigError, match=r"import forestry\.trees` first[\s\S]*tubelet\.plugins"):
        decode(Forest, {"oldest": {"type": "forestry.trees:Oak"}})
    with pytest.raises(ConfigError, match="define it there again"):
        decode(Forest, {"oldest": {"type": "__main__:Oak"}})
    with pytest.raises(ConfigError, match="unknown field 'hight'"):
        decode(Forest, {"oldest": {"type": f"{__name__}:Birch", "hight": 2}})
    with pytest.raises(ConfigError, match="one of"):
        decode(Forest, {"oldest": {"height": 2}})
    strange: list[Any] = [[], {}, 7]
    for name in strange:
        with pytest.raises(ConfigError, match="one of"):
            decode(Forest, {"oldest": {"type": name}})
    assert decode(Forest, {"sown": 1987}).sown == 1987
    assert decode(Forest, {"sown": encode(Birch())}).sown == Birch()
    with pytest.raises(ConfigError, match="unknown type 'int'"):
        decode(Forest, {"sown": {"type": "int"}})
    with pytest.raises(ConfigError, match="fields of a Tree"):
        decode(Forest, {"trees": [7]})


@pytest.mark.usefixtures("without_plugins")
def test_a_name_in_a_file_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="if you trust that package"):
        decode(Forest, {"oldest": {"type": "hostile:Oak"}})
    assert "hostile" not in sys.modules


def test_a_plugin_that_is_named_is_imported_when_a_type_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from dataclasses import dataclass\n"
        f"from {__name__} import Tree\n"
        "@dataclass(frozen=True, slots=True, kw_only=True)\n"
        "class Oak(Tree):\n"
        "    def leaves(self) -> int:\n"
        "        return 7\n"
    )
    (tmp_path / "planted.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "planted")
    plugins.load_plugins.cache_clear()
    try:
        oldest = decode(Forest, {"oldest": {"type": "planted:Oak"}}).oldest
        assert oldest is not None and oldest.leaves() == 7
    finally:
        plugins.load_plugins.cache_clear()
        sys.modules.pop("planted", None)


def test_a_broken_plugin_says_which_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(plugins.VARIABLE, "broken_plugin")
    plugins.load_plugins.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"'broken_plugin'[\s\S]*no_such_module[\s\S]*empty"):
            plugins.load_plugins()
    finally:
        plugins.load_plugins.cache_clear()


def test_the_latest_definition_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = ModuleType("redefined")
    source = (
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True, slots=True, kw_only=True)\n"
        "class Fir(Tree):\n"
        "    needles: int = {}\n"
        "    def leaves(self) -> int:\n"
        "        return self.needles\n"
    )
    namespace.__dict__["Tree"] = Tree
    monkeypatch.setitem(sys.modules, "redefined", namespace)
    for needles in (1, 2):
        exec(source.format(needles), namespace.__dict__)  # noqa: S102  as a notebook's cell
    fir = decode(Forest, {"oldest": {"type": "redefined:Fir"}}).oldest
    assert fir is not None and fir.leaves() == 2


def test_what_is_no_dataclass_of_its_own_is_refused_when_written() -> None:
    class Bonsai(Birch):
        pass

    with pytest.raises(ConfigError, match="decorate it with @dataclass"):
        encode(Bonsai())


@pytest.mark.parametrize(
    ("kind", "listed"), [(BackboneConfig, BACKBONES), (HeadConfig, HEADS), (SourceConfig, SOURCES)]
)
@pytest.mark.usefixtures("without_plugins")
def test_our_own_names_are_plain_and_each_stands_once(
    kind: type[Extensible], listed: tuple[type[Extensible], ...]
) -> None:
    ours = [one for one in families(kind, listed) if one.__module__.startswith("tubelet.")]
    assert len({one.__name__ for one in ours}) == len(ours)
    assert {one.__name__ for one in listed} <= members_of(kind).keys()


def _loads(program: str) -> str:
    environment = {**os.environ, plugins.VARIABLE: ""}
    program = f"import sys\n{program}\nprint('torch' in sys.modules)"
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_asking_for_formats_loads_no_torch() -> None:
    assert _loads("from tubelet.data.importers import formats\nformats()") == "False\n"


def test_a_recipe_names_the_playground_without_anybody_importing_it() -> None:
    program = (
        "from tubelet.config import decode\n"
        "from tubelet.data.sources import SourceConfig\n"
        "print(decode(SourceConfig, {'type': 'PlaygroundSource', 'clips': 3}).clips)"
    )
    assert _loads(program).split()[0] == "3"


def _frames() -> torch.Tensor:
    return (torch.arange(3 * 4 * 32 * 32).reshape(1, 3, 4, 32, 32) * 7 % 251).to(torch.uint8)


def _expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / "logits_b893a55.json").read_text())
    return found


@pytest.mark.parametrize("name", ["detector", "classifier"])
def test_checkpoints_of_b893a55_load_and_say_the_same(name: str) -> None:
    """Written by the version whose kinds of configuration were closed unions."""
    model = load_model(FIXTURES / f"{name}_b893a55.safetensors")
    boxes = torch.tensor([[2.0, 3, 17, 22], [9, 0, 31, 30]])
    rois = Rois(boxes_px=boxes, boxes_norm=boxes / 32, clip=torch.zeros(2, dtype=torch.int64))
    with torch.inference_mode():
        logits = model(_frames(), rois if model.task == "detection" else None)
    torch.testing.assert_close(logits, torch.tensor(_expected()[name]), rtol=1e-3, atol=1e-3)


def _keeps(old: Any, new: Any) -> bool:
    """Whether everything that was written is written still; new fields may have joined."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(k in new and _keeps(v, new[k]) for k, v in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_keeps, old, new))
    return bool(old == new)


@pytest.mark.parametrize("name", ["detector", "classifier"])
def test_models_are_written_as_they_were(name: str, tmp_path: Path) -> None:
    from tubelet.checkpoints import read_header

    path = FIXTURES / f"{name}_b893a55.safetensors"
    save_model(tmp_path / "again.safetensors", load_model(path))
    assert _keeps(read_header(path)["model"], read_header(tmp_path / "again.safetensors")["model"])


def test_recipes_of_b893a55_are_read_and_written_as_they_were() -> None:
    for written in json.loads((FIXTURES / "recipes_b893a55.json").read_text()).values():
        assert _keeps(written, encode(decode(Recipe, written)))


def test_a_misspelt_family_of_our_own_is_answered_with_the_nearest() -> None:
    written = {**encode(CSNConfig()), "type": "CSMConfig"}
    with pytest.raises(ConfigError, match="did you mean 'CSNConfig'"):
        decode(BackboneConfig, written)  # an abstract kind: its members are meant


def _switches(path: Path, names: set[str]) -> list[str]:
    """The members of open kinds that a module tells apart by `isinstance` or `match`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        asked: ast.AST | None = None
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            asked = node.args[1]
        elif isinstance(node, ast.MatchClass):
            asked = node.cls
        if asked is not None:
            found += [n.id for n in ast.walk(asked) if isinstance(n, ast.Name) and n.id in names]
    return found


def test_nobody_else_tells_members_of_open_kinds_apart() -> None:
    """What others need to know is declared by the base; conversion knows each upstream network,
    and the notes on a paper's recipes the parts that the paper describes."""
    names = {one.__name__ for one in (*BACKBONES, *HEADS, *SOURCES)}
    source = Path(tubelet.__file__).parent
    own = ("models/backbones/", "models/heads/", "data/sources/", "convert/", "recipes/notes/")
    found = {}
    for path in source.rglob("*.py"):
        name = path.relative_to(source).as_posix()
        if not name.startswith(own) and (switches := _switches(path, names)):
            found[name] = switches
    assert found == {}
    relation = source / "models" / "heads" / "relation.py"
    assert _switches(relation, names) == ["TemporalRelationHeadConfig"]  # the search finds some


def test_fine_tuning_goes_by_what_a_backbone_is_made_of() -> None:
    rates = {one.__name__: tuning(model_config(backbone=one())).rate for one in BACKBONES}
    assert rates["HubConfig"] == rates["ViTConfig"] == rates["ViViTConfig"] < rates["CSNConfig"]
    assert rates["CSNConfig"] == rates["SlowFastConfig"] < rates["DescriptorsConfig"]
