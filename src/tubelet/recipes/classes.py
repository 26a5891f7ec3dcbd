"""The classes of the papers' data sets, as far as a model needs them before it sees data."""

from __future__ import annotations

from tubelet.labels import LabelSpace
from tubelet.labelsets import label_set

AVA = label_set("ava")
"""AVA's 80 classes, of which 60 count in the mean."""

KINETICS = {n: LabelSpace.nameless(n, exclusive=True) for n in (400, 600, 700)}
MOMENTS = LabelSpace.nameless(339, exclusive=True)
SOMETHING = LabelSpace.nameless(174, exclusive=True)
CHARADES = LabelSpace.nameless(157)
