"""The classes of the papers' data sets, as far as a model needs them before it sees data."""

from __future__ import annotations

from tubelet.labels import LabelSpace

_NOT_EVALUATED = frozenset(
    {2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75}
)
_AVA = (
    "bend/bow (at the waist)", "crawl", "crouch/kneel", "dance", "fall down", "get up",
    "jump/leap", "lie/sleep", "martial art", "run/jog", "sit", "stand", "swim", "walk",
    "answer phone", "brush teeth", "carry/hold (an object)", "catch (an object)", "chop",
    "climb (e.g., a mountain)", "clink glass", "close (e.g., a door, a box)", "cook", "cut",
    "dig", "dress/put on clothing", "drink", "drive (e.g., a car, a truck)", "eat", "enter",
    "exit", "extract", "fishing", "hit (an object)", "kick (an object)", "lift/pick up",
    "listen (e.g., to music)", "open (e.g., a window, a car door)", "paint", "play board game",
    "play musical instrument", "play with pets", "point to (an object)", "press",
    "pull (an object)", "push (an object)", "put down", "read",
    "ride (e.g., a bike, a car, a horse)", "row boat", "sail boat", "shoot", "shovel", "smoke",
    "stir", "take a photo", "text on/look at a cellphone", "throw", "touch (an object)",
    "turn (e.g., a screwdriver)", "watch (e.g., TV)", "work on a computer", "write",
    "fight/hit (a person)", "give/serve (an object) to (a person)", "grab (a person)",
    "hand clap", "hand shake", "hand wave", "hug (a person)", "kick (a person)",
    "kiss (a person)", "lift (a person)", "listen to (a person)", "play with kids",
    "push (another person)", "sing to (e.g., self, a person, a group)",
    "take (an object) from (a person)", "talk to (e.g., self, a person, a group)",
    "watch (a person)",
)  # fmt: skip
AVA = LabelSpace(
    ids=tuple(range(1, 81)),
    names=_AVA,
    evaluated=tuple(i for i in range(1, 81) if i not in _NOT_EVALUATED),
    groups={
        "pose": tuple(range(1, 15)),
        "person_object": tuple(range(15, 64)),
        "person_person": tuple(range(64, 81)),
    },
)
"""AVA's 80 classes, of which 60 count in the mean."""

KINETICS = {n: LabelSpace.nameless(n, exclusive=True) for n in (400, 600, 700)}
MOMENTS = LabelSpace.nameless(339, exclusive=True)
SOMETHING = LabelSpace.nameless(174, exclusive=True)
CHARADES = LabelSpace.nameless(157)
