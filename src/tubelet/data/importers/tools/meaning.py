"""Which of what a labelling tool wrote are actions: decided once for all tools, and told.

A box has a label and attributes. Choices among words and switches (a checkbox, yes/no) are actions;
numbers and free text are not. A label without such attributes is its own action. Where both kinds
of label have boxes, or an attribute looks like a property of the person, nobody but the user can
know, so the question is asked. Nothing is left out without a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tubelet.data.importers.records import Imported, Options, Rows, Vocabulary, plain
from tubelet.data.importers.tools.marks import Attribute, Export, Mark, is_yes
from tubelet.errors import InputError, did_you_mean
from tubelet.labels import LabelSpace

_NOTHING = frozenset({"", "none", "__undefined__"})
# These name somebody, not something that is done.
_PERSON = frozenset(
    [
        "person",
        "persons",
        "people",
        "human",
        "humans",
        "pedestrian",
        "man",
        "woman",
        "child",
        "adult",
        "worker",
        "player",
        "actor",
        "subject",
        "body",
        "personne",
        "mensch",
        "persona",
    ]
)
# Attributes of these names, and values that are numbered names, describe rather than act.
_DESCRIBES = re.compile(
    r"(^|[^a-z])(ids?|who|name|identity|person|people|sex|gender|age|cloth\w*|dress|shirt|wears?|"
    r"wearing|helmet|vest|hat|cap|mask|glasses|bag|colou?rs?|visib\w+|occlu\w+|trunc\w+|quality|"
    r"blur\w*|difficult\w*|crowd\w*|comments?|notes?|remarks?|confidence|certain\w*|reviewed|"
    r"checked|camera|weather|light\w*|team|role|size|ethnicity|race)([^a-z]|$)"
)
_ACTS = re.compile(r"act(ion|ivit|s?\b)|behavio|verb|event|doing|gesture|pose|posture")
_NUMBERED = re.compile(r"[^\W\d]*[-_ ]?\d+")
_SHOWN = 6


@dataclass(slots=True)
class _Group:
    """An attribute, or several that differ by a trailing number, whose values are actions; `doubt`:
    why it may be none."""

    name: str
    kind: str
    values: dict[str, None] = field(default_factory=dict)
    attributes: dict[str, None] = field(default_factory=dict)
    labels: dict[str, None] = field(default_factory=dict)
    doubt: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({_listed(self.values) if self.kind != 'switch' else 'yes or no'})"


def group_name(attribute: str) -> str:
    """`Object Interaction 1`, `… 2` and `… 3` are one group: CVAT has no multiple choice."""
    return re.sub(r"\s*\d+$", "", attribute.strip()) or attribute.strip()


def table_of(exports: Sequence[Export], options: Options) -> Imported:
    """The table of one set of files, its classes, and what was taken and left.

    Raises InputError with the choices where it has to be asked which labels are people or which
    attributes are actions, and for names in the options that no file has.
    """
    return _Meaning(_joined(exports), options).imported()


def _joined(exports: Sequence[Export]) -> Export:
    if len(exports) == 1:
        return exports[0]
    whole = Export(tool=exports[0].tool, source=exports[0].source, ledger=exports[0].ledger)
    numbered = [export.ids for export in exports if export.labels]
    if all(ids == numbered[0] for ids in numbered):
        whole.ids = dict(numbered[0]) if numbered else {}
    for export in exports:
        for label, attributes in export.labels.items():
            whole.labels[label] = _united((*whole.labels.get(label, ()), *attributes))
        whole.marks += export.marks
        whole.empty += export.empty
        if export.ledger is not whole.ledger:
            for line in export.ledger.lines:
                whole.ledger.note(line)
            whole.ledger.left.update(export.ledger.left)
            whole.ledger.kinds.update(export.ledger.kinds)
            for video, names in export.ledger.subsets.items():
                whole.ledger.subsets.setdefault(video, set()).update(names)
    return whole


def _united(attributes: Iterable[Attribute]) -> tuple[Attribute, ...]:
    found: dict[str, Attribute] = {}
    for one in attributes:
        before = found.get(one.name)
        values = (*before.values, *one.values) if before else one.values
        kind = before.kind if before and before.kind != "text" else one.kind
        unique = tuple(dict.fromkeys(values))
        found[one.name] = Attribute(name=one.name, kind=kind, values=unique)
    return tuple(found.values())


class _Meaning:
    def __init__(self, export: Export, options: Options) -> None:
        self._export, self._options, self._ledger = export, options, export.ledger
        self._boxes = Counter(mark.label for mark in export.marks)
        self._ignored = {plain(name) for name in options.ignored}
        for label in self._boxes:
            export.labels.setdefault(label, ())
        self._check_names()

    def imported(self) -> Imported:
        if any(mark.ids is not None for mark in self._export.marks):
            return self._numbered()
        labels = self._people_labels()
        groups = self._groups(labels)
        acting = {label for group in groups for label in group.labels}
        used = [label for label in labels if self._boxes[label]]
        bare = [x for x in used if x and x not in acting and plain(x) not in _PERSON]
        if groups and acting & set(used):
            self._ask_about_labels(labels, groups, bare)
            self._ask_about_attributes(groups)
            labels = [label for label in labels if label in acting]
            names = _class_names(groups, self._ignored)
        else:
            for group in groups:
                self._ledger.leave(f"attribute {group}: no box has it", 0)
            groups = []
            named = [x for x in labels if x and x not in acting and plain(x) not in _PERSON]
            names = {("", label): label for label in named}
        return self._rows(labels, groups, names)

    def _numbered(self) -> Imported:
        """A file that gives class ids without names (AlphAction's)."""
        rows = Rows()
        for mark in self._export.marks:
            rows.add(mark.video, mark.time_us, mark.box, labels=mark.ids or (),
                     person=mark.person, score=mark.score)  # fmt: skip
        self._add_empty(rows)
        return Imported(rows.table(self._export.source), None, self._ledger.report())

    def _check_names(self) -> None:
        """The names in the options must be names of the file."""
        labels = {plain(label) for label in self._export.labels}
        attributes, values = set(), set()
        for found in self._export.labels.values():
            for one in found:
                attributes |= {plain(one.name), plain(group_name(one.name))}
                values |= {plain(v) for v in one.values}
                values |= {plain(f"{group_name(one.name)}: {v}") for v in one.values}
        for argument, asked, known in (
            ("person_label", self._options.person_labels, labels),
            ("attribute", self._options.attributes, attributes),
            ("ignore", self._options.ignored, labels | attributes | values),
        ):
            for name in asked:
                if plain(name) not in known:
                    raise InputError(
                        f"no {'label' if argument == 'person_label' else 'attribute or label'} "
                        f"is called {name!r}",
                        where=self._export.source,
                        expected=self._choices(),
                        hint=did_you_mean(name, [*self._export.labels, *attributes]),
                        arguments=(argument,),
                    )

    def _people_labels(self) -> list[str]:
        """The labels whose boxes are people's; a line for each of the others."""
        wanted = {plain(name) for name in self._options.person_labels}
        kept = []
        for label in self._export.labels:
            if plain(label) in self._ignored or (wanted and plain(label) not in wanted):
                why = "as asked" if plain(label) in self._ignored else "not a person's label"
                self._ledger.leave(f"label {label!r}, {why}", self._boxes[label])
            else:
                kept.append(label)
        return kept

    def _groups(self, labels: Iterable[str]) -> list[_Group]:
        """Attributes that can be actions; a line for each of the others."""
        found: dict[tuple[str, str], _Group] = {}
        wanted = {plain(name) for name in self._options.attributes}
        for label in labels:
            for one in self._export.labels[label]:
                names = {plain(one.name), plain(group_name(one.name))}
                if names & self._ignored:
                    self._ledger.leave(f"attribute {one.name!r}, as asked", 0)
                elif one.kind == "number" and not _acts(one):
                    self._ledger.leave(f"attribute {one.name!r} (numbers): no action", 0)
                elif one.kind == "text" or not (one.values or one.kind == "switch"):
                    self._ledger.leave(f"attribute {one.name!r} (free text): no action", 0)
                elif wanted and not names & wanted:
                    self._ledger.leave(f"attribute {one.name!r} ({_listed(one.values)})", 0)
                else:
                    _add(found, label, one)
        return [group for group in found.values() if group.values and self._known(group)]

    def _known(self, group: _Group) -> bool:
        """Whether the label map, if there is one, has any of a group's classes."""
        labels = self._options.labels
        if labels is None:
            return True
        there = {plain(name) for name in labels.names}
        names = {plain(v) for v in group.values}
        names |= {plain(f"{group.name}: {v}") for v in group.values}
        if names & there:
            group.doubt = None
            return True
        self._ledger.leave(f"attribute {group}: no class of the label map", 0)
        return False

    def _ask_about_labels(
        self, labels: Sequence[str], groups: Sequence[_Group], bare: Sequence[str]
    ) -> None:
        acting = {label for group in groups for label in group.labels}
        chosen = self._options.person_labels or self._options.attributes
        if bare and not chosen:
            raise InputError(
                "some labels have attributes that can be actions and some have none: "
                "which labels are people?",
                where=self._export.source,
                expected=self._choices(),
                hint="state the labels of people, the attributes that are actions, or what to "
                "leave out",
                arguments=("person_label", "attribute", "ignore"),
            )
        if bare and self._options.person_labels:
            raise InputError(
                f"the labels {_listed(bare)} have no attribute that could be an action, "
                f"{_listed(sorted(acting))} have: one set needs one of the two",
                where=self._export.source,
                expected=self._choices(),
                arguments=("person_label", "ignore"),
            )
        for label in labels:
            if label not in acting:
                self._ledger.leave(f"label {label!r}: has no such attribute", self._boxes[label])

    def _ask_about_attributes(self, groups: Sequence[_Group]) -> None:
        words = any(group.kind != "switch" and group.doubt is None for group in groups)
        doubts = []
        for group in groups:
            yes_no = group.kind == "switch" and len(group.values) == 2 and words
            if group.doubt or yes_no:
                doubts.append(f"{group.name!r}{f' {group.doubt}' if group.doubt else ' is yes/no'}")
        if doubts and not self._options.attributes:
            raise InputError(
                f"not every attribute seems to be an action ({', '.join(doubts)}): which are?",
                where=self._export.source,
                expected=self._choices(),
                hint="state the attributes that are actions, or what to leave out",
                arguments=("attribute", "ignore"),
            )

    def _choices(self) -> str:
        lines = []
        for label, attributes in self._export.labels.items():
            has = "; ".join(f"{one.name} ({_listed(one.values) or one.kind})" for one in attributes)
            lines.append(f"label {label!r}, {self._boxes[label]} boxes: {has or 'no attributes'}")
        return "\n    ".join(["", *lines[:12]]) if lines else "a label"

    def _rows(
        self, labels: Sequence[str], groups: Sequence[_Group], names: dict[tuple[str, str], str]
    ) -> Imported:
        vocabulary = self._vocabulary(groups, names)
        by_attribute = {name: group for group in groups for name in group.attributes}
        kept, rows = set(labels), Rows()
        counts: Counter[str] = Counter()
        bare = several = 0
        for mark in self._export.marks:
            if mark.label not in kept:
                continue
            said = self._said(mark, by_attribute, names)
            bare, several = bare + (not said), several + (len(said) > 1)
            counts.update(said)
            rows.add(
                mark.video,
                mark.time_us,
                mark.box,
                labels=dict.fromkeys(vocabulary.id(name, mark.where) for name in said),
                person=mark.person,
                score=mark.score,
            )
        self._add_empty(rows)
        space = vocabulary.labels if names else self._options.labels
        nothing = self._tell(counts, groups, bare)
        single = len(groups) == 1 and groups[0].kind == "choice" and len(groups[0].attributes) == 1
        report = self._ledger.report(
            nothing=nothing, single_choice=several == 0 and (single or (not groups and bool(names)))
        )
        return Imported(rows.table(self._export.source), space, report)

    def _said(
        self, mark: Mark, by_attribute: dict[str, _Group], names: dict[tuple[str, str], str]
    ) -> list[str]:
        """The classes of one box, each once."""
        if not by_attribute:
            found = [names.get(("", mark.label))]
        else:
            found = []
            for attribute, value in mark.attributes:
                group = by_attribute.get(attribute)
                if group is None or value.strip().casefold() in _NOTHING:
                    continue
                if group.kind == "switch":
                    found.append(names.get((group.name, group.name)) if is_yes(value) else None)
                elif {plain(value), plain(f"{group.name}: {value}")} & self._ignored:
                    self._ledger.leave(f"class {value.strip()!r}, as asked")
                else:
                    found.append(names.get((group.name, value.strip())) or value.strip())
        return list(dict.fromkeys(name for name in found if name is not None))

    def _vocabulary(
        self, groups: Sequence[_Group], names: dict[tuple[str, str], str]
    ) -> Vocabulary:
        given = self._options.labels
        if given is None and names and not groups and self._export.ids:
            ids = tuple(self._export.ids[name] for name in names.values())
            given = LabelSpace(ids=ids, names=tuple(names.values()))
        listed: dict[str, list[str]] = {}
        for (group, _), name in names.items():
            listed.setdefault(group, []).append(name)
        return Vocabulary(list(listed.items()), given)

    def _add_empty(self, rows: Rows) -> None:
        for video, time_us in self._export.empty:
            rows.add(video, time_us, None)

    def _tell(self, counts: Counter[str], groups: Sequence[_Group], bare: int) -> str | None:
        """The line about the classes, or why there are none."""
        if not counts:
            return f"no box has an action: {self._choices().strip() or 'the file has no boxes'}"
        of = _listed([group.name for group in groups]) if groups else "the labels"
        told = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        self._ledger.note(
            f"actions from {of}: {told}" + (f"; {bare} boxes without an action" if bare else "")
        )
        return None


def _acts(one: Attribute) -> bool:
    """Whether numbers may be actions all the same: the attribute is called so."""
    return bool(one.values) and _ACTS.search(one.name.casefold()) is not None


def _add(found: dict[tuple[str, str], _Group], label: str, one: Attribute) -> None:
    switch = one.kind == "switch"
    name = one.name if switch else group_name(one.name)
    group = found.setdefault(
        ("switch" if switch else "choice", plain(name)), _Group(name=name, kind=one.kind)
    )
    group.labels[label] = group.attributes[one.name] = None
    values = [v for v in one.values if v.casefold() not in _NOTHING]
    group.values |= dict.fromkeys(values or (["true"] if switch else []))
    if _ACTS.search(name.casefold()):
        return
    if _DESCRIBES.search(name.casefold()):
        group.doubt = "describes the person or the picture"
    elif not switch and values and all(_NUMBERED.fullmatch(v) for v in values):
        group.doubt = "has numbered names"


def _class_names(groups: Sequence[_Group], ignored: set[str]) -> dict[tuple[str, str], str]:
    """(group, value) → the class's name. Groups that share a value name all of theirs in full,
    since the same word in another attribute means another thing."""
    uses = Counter(
        plain(value)
        for group in groups
        for value in (
            {plain(v): v for v in group.values} if group.kind != "switch" else [group.name]
        )
    )
    names: dict[tuple[str, str], str] = {}
    for group in groups:
        if group.kind == "switch":
            names[group.name, group.name] = group.name
            continue
        shared = any(uses[plain(value)] > 1 for value in group.values)
        for value in group.values:
            full = f"{group.name}: {value}"
            if not {plain(value), plain(full)} & ignored:
                names[group.name, value] = full if shared else value
    return names


def _listed(names: Iterable[str]) -> str:
    given = list(names)
    more = f", and {len(given) - _SHOWN} more" if len(given) > _SHOWN else ""
    return ", ".join(given[:_SHOWN]) + more
