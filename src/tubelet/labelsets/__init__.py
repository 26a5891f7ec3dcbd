"""The classes of the field's data sets, their names in full and in the order of published weights.

One text file a data set, one class per line. Kinetics is in the alphabetical order that PySlowFast,
PyTorchVideo, MMAction2, VMZ and torchvision share; Something-Something V2 and Charades have the
order of their own class files; MultiSports and Kinetics-710 that of MMAction2.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tubelet.errors import ConfigError, did_you_mean
from tubelet.labels import LabelSpace

_FOLDER = Path(__file__).parent
_SEVERAL = frozenset({"ava", "charades"})
"""Sets of which a person, or a clip, can have several classes at once."""
_FIRST_ID = {"ava": 1}
# The official list leaves twenty classes of AVA out of the mean: fewer than 25 validation boxes.
_AVA_NOT_EVALUATED = frozenset(
    {2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75}
)
_FILES = tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))
_COUNTED = "ava60"
"""AVA's 60 counted classes alone, in the order of their ids."""
LABEL_SETS = tuple(sorted((*_FILES, _COUNTED)))


@cache
def label_set(name: str) -> LabelSpace:
    """The label space of that name; AVA's knows its 60 evaluated classes and its three groups.

    Raises ConfigError naming the nearest one.
    """
    if name not in LABEL_SETS:
        raise ConfigError(
            f"no label set is called {name!r}",
            expected=", ".join(LABEL_SETS),
            hint=did_you_mean(name, LABEL_SETS),
        )
    if name == _COUNTED:
        ava = label_set("ava")
        return ava.only(ava.names[ava.column(i)] for i in ava.evaluated)
    names = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    space = LabelSpace.of(names, first_id=_FIRST_ID.get(name, 0), exclusive=name not in _SEVERAL)
    return _ava(space) if name == "ava" else space


def _ava(space: LabelSpace) -> LabelSpace:
    return LabelSpace(
        ids=space.ids,
        names=space.names,
        evaluated=tuple(i for i in space.ids if i not in _AVA_NOT_EVALUATED),
        groups={
            "pose": tuple(range(1, 15)),
            "person_object": tuple(range(15, 64)),
            "person_person": tuple(range(64, 81)),
        },
    )
