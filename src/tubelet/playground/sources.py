"""Sources of the rendered world: people in clips, and whole clips."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

from tubelet.data.sources.base import Labelled, SourceConfig
from tubelet.data.whole import WholeVideoDataset
from tubelet.playground.dataset import PlaygroundDataset, UnlabelledPlayground, WhoseBoxes
from tubelet.playground.make import clip_seed
from tubelet.playground.whole_clips import playground_clips
from tubelet.playground.world import PlaygroundConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundSource(SourceConfig):
    """Clips of the rendered world. `split` keeps seeds apart; `vary` draws new clips for ever, and
    `seek` prefers those in which one of these actions occurs. `hold`, `boxes` as in the dataset."""

    summary: ClassVar[str] = "people of the rendered playground"

    name: str = "playground"
    world: PlaygroundConfig = field(default_factory=PlaygroundConfig)
    clips: int = 100
    split: str = "train"
    vary: bool = False
    seek: tuple[str, ...] = ()
    hold: bool = False
    boxes: WhoseBoxes = "truth"

    def build(self, root: Path) -> PlaygroundDataset:
        first = clip_seed(self.split, 0, 0)  # type: ignore[arg-type]
        return PlaygroundDataset(
            name=self.name,
            world=self.world,
            clips=self.clips,
            first_seed=first,
            vary=self.vary,
            seek=self.seek,
            hold=self.hold,
            boxes=self.boxes,
        )

    def tiny(self, *, clips: int, seconds: float) -> Self:
        return replace(self, clips=clips, world=self.world.tiny(seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledPlaygroundSource(SourceConfig):
    """Clips of the rendered world whose labels are kept back, with a detector's people."""

    summary: ClassVar[str] = "people of the rendered playground, without their labels"

    name: str = "playground_hidden"
    world: PlaygroundConfig = field(default_factory=PlaygroundConfig)
    clips: int = 100
    split: str = "test"

    def build(self, root: Path) -> UnlabelledPlayground:
        first = clip_seed(self.split, 0, 0)  # type: ignore[arg-type]
        return UnlabelledPlayground(
            name=self.name, world=self.world, clips=self.clips, first_seed=first
        )

    @property
    def hidden(self) -> bool:
        return True

    def tiny(self, *, clips: int, seconds: float) -> Self:
        return replace(self, clips=clips, world=self.world.tiny(seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaygroundClipSource(SourceConfig):
    """Whole clips of the rendered world: `exclusive` with one class each, as Kinetics has them,
    else with every class that happens in them, as Charades has. Those drawn last stay in memory.
    `unlabelled`: the classes are kept back, as those of Kinetics' test set are."""

    summary: ClassVar[str] = "whole clips of the rendered playground"

    name: str = "playground_clips"
    world: PlaygroundConfig = field(default_factory=lambda: PlaygroundConfig(task="scene"))
    clips: int = 100
    split: str = "train"
    exclusive: bool = True
    unlabelled: bool = False

    def build(self, root: Path) -> WholeVideoDataset:
        return playground_clips(
            name=self.name,
            world=self.world,
            clips=self.clips,
            first_seed=clip_seed(self.split, 0, 0),  # type: ignore[arg-type]
            exclusive=self.exclusive,
            unlabelled=self.unlabelled,
        )

    @property
    def hidden(self) -> bool:
        return self.unlabelled

    @property
    def labelled(self) -> Labelled:
        return "video" if self.exclusive else "events"

    def tiny(self, *, clips: int, seconds: float) -> Self:
        return replace(self, clips=clips, world=self.world.tiny(seconds))
