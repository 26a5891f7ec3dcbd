"""How well a person detector finds people in labelled films: AP and recall.

    python benchmarks/person_detector.py --data ../shared/data [--detector person_small]

JHMDB labels one person per clip, so other people who are found count against the AP there.
UCF101-24's boxes are loose (the actor and a margin, or the horse too), so recall is also given at
IoU 0.3. "Score" is the detector's own threshold, which is what `tubelet detect` uses. For still
pictures there is `tubelet people bench`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tubelet.data.tables import read_ava_csv
from tubelet.data.untrusted.reading import find_video
from tubelet.people.detectors.base import PersonDetector
from tubelet.people.detectors.small import KIND, WEIGHTS, SmallPersonDetector
from tubelet.people.measure import measure
from tubelet.people.named import person_detector
from tubelet.people.training.person_small import labelled_frames

LOWEST = 0.001  # of the detections that AP ranks
SETS = {
    "JHMDB-21 split 1 val keyframes": (
        "jhmdb21/annotations/jhmdb21_keyframes_val_split1.csv",
        "jhmdb21/videos",
        1,
    ),
    "JHMDB-21 val mosaics, every 6th frame": (
        "jhmdb21_mosaic_val/mosaic_val.csv",
        "jhmdb21_mosaic_val/videos",
        6,
    ),
    "7 UCF101-24 clips, every 3rd frame": ("clips/ucf24/gt_all_frames.csv", "clips/ucf24", 3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", default="person_small")
    parser.add_argument("--precision", default="fp32", help="of the small detectors")
    parser.add_argument("--threshold", type=float, help="default: the detector's own")
    options = parser.parse_args()
    threshold = options.threshold
    if threshold is None:
        threshold = person_detector(options.detector).threshold
    detector: PersonDetector = person_detector(options.detector, threshold=LOWEST)
    if isinstance(detector, SmallPersonDetector):
        weights = WEIGHTS if options.detector == KIND else options.detector
        detector = SmallPersonDetector.load(weights, threshold=LOWEST, precision=options.precision)
    for name, (truth, videos, every) in SETS.items():
        folder = options.data / videos
        here = [v for v in read_ava_csv(options.data / truth).videos() if find_video(folder, v)]
        frames = labelled_frames(options.data / truth, folder, every=every, names=here)
        pairs = [(detector(image), people.boxes) for image, people in frames]
        sure = [(p.select(p.scores >= threshold), boxes) for p, boxes in pairs]
        boxes = sum(len(p) for p, _ in sure) / len(pairs)
        whole = measure(pairs)
        print(
            f"{name}: AP@0.5 {whole.ap:.3f}, recall {whole.recall:.3f} of {whole.truth} people; "
            f"score {threshold:g}: recall {measure(sure).recall:.3f}, at IoU 0.3 "
            f"{measure(sure, iou=0.3).recall:.3f}, {boxes:.1f} boxes per frame",
            flush=True,
        )


if __name__ == "__main__":
    main()
