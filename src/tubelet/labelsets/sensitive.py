"""Actions that harm somebody when they are said wrongly: weapons and violence.

The one place where they are listed, a tuple for each label set, by the set's own names. Those of
K-400, K-600 and K-710 are among K-700's. Sports are listed where a picture of them looks like
violence or shows a weapon. A class is recognised by its name, in whichever model: custom labels of
the same name are held back too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SENSITIVE: Mapping[str, tuple[str, ...]] = {
    "jhmdb21": ("shoot_gun", "shoot_bow"),
    "hmdb51": (
        "draw_sword", "fencing", "hit", "kick", "punch", "shoot_bow", "shoot_gun", "sword",
        "sword_exercise",
    ),
    "ucf24": (),
    "ava": ("martial art", "shoot", "fight/hit (a person)", "kick (a person)"),
    "k700": (
        "archery", "drop kicking", "high kick", "punching person (boxing)", "side kick",
        "slapping", "sword fighting", "throwing axe", "throwing knife", "wrestling",
    ),
    "charades": (),
    "multisports": (),
    "ssv2": (),
}  # fmt: skip

_NAMES = frozenset(name.lower() for names in SENSITIVE.values() for name in names)


def sensitive_columns(names: Iterable[str]) -> tuple[int, ...]:
    """Columns of the classes of `names` that are listed, in any case."""
    return tuple(i for i, name in enumerate(names) if name.strip().lower() in _NAMES)
