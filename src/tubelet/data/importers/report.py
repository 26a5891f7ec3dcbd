"""What a reader took from a file, and what it left: nothing is lost without a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Lines for whoever asked for the file to be read.

    `taken`: what became classes, films and times. `left_out`: what was not used, and of how many
    boxes. `subsets`: the split that the file itself gives each video ("Train", "val", …).
    `nothing`: why no box has an action, where none has. `single_choice`: whether the classes are
    the values of one choice, of which a person has exactly one. `kinds`: what a
    detector calls the boxes, and how many of each; some may be no people.
    """

    taken: tuple[str, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
    subsets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    nothing: str | None = None
    single_choice: bool = False
    kinds: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What to print, a line each."""
        left = [f"left out: {what}" + (f" ({n} boxes)" if n else "") for what, n in self.left_out]
        return [*self.taken, *left, *([self.nothing] if self.nothing else [])]

    @classmethod
    def joined(cls, reports: Iterable[Report]) -> Report:
        """One report of several files; equal lines stand once, with their boxes summed."""
        listed = list(reports)
        left: Counter[str] = Counter()
        subsets: dict[str, frozenset[str]] = {}
        for report in listed:
            for what, count in report.left_out:
                left[what] += count
            for video, names in report.subsets.items():
                subsets[video] = subsets.get(video, frozenset()) | names
        reasons = {report.nothing for report in listed}
        return cls(
            taken=tuple(dict.fromkeys(line for report in listed for line in report.taken)),
            left_out=tuple(left.items()),
            subsets=subsets,
            nothing=None if None in reasons or not reasons else next(iter(reasons)),
            single_choice=bool(listed) and all(report.single_choice for report in listed),
            kinds=sum((Counter(report.kinds) for report in listed), Counter()),
        )


@dataclass(slots=True)
class Ledger:
    """Collects a report while a file is read."""

    lines: list[str] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    subsets: dict[str, set[str]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    def note(self, line: str) -> None:
        """A line about what was taken; said once."""
        if line not in self.lines:
            self.lines.append(line)

    def leave(self, what: str, boxes: int = 1) -> None:
        """Something that is not used, and the boxes that it concerns (0: none can be counted)."""
        self.left[what] += boxes

    def subset(self, video: str, name: str | None) -> None:
        """The file's own split of a video; none for CVAT's "default"."""
        if name and name.strip().casefold() not in ("", "default"):
            self.subsets.setdefault(video, set()).add(name.strip())

    def report(self, *, nothing: str | None = None, single_choice: bool = False) -> Report:
        return Report(
            taken=tuple(self.lines),
            left_out=tuple(self.left.items()),
            subsets={video: frozenset(names) for video, names in self.subsets.items()},
            nothing=nothing,
            single_choice=single_choice,
            kinds=dict(self.kinds),
        )
