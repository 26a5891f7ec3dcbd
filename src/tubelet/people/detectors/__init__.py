"""Person detectors. `DETECTORS` is the whole list of those with names: what it holds is tested and
shown in the docs' tables; a detector that is only imported works without being listed."""

from tubelet.people.detectors.base import NamedDetector
from tubelet.people.detectors.huggingface import HuggingFaceDetector
from tubelet.people.detectors.small import SmallPersonDetector
from tubelet.people.detectors.yolox import YoloxDetector

DETECTORS: tuple[type[NamedDetector], ...] = (
    SmallPersonDetector,
    HuggingFaceDetector,
    YoloxDetector,
)
