"""Where a stage's data comes from, as configuration: each source builds a dataset.

Paths are relative to the data folder. A folder of extracted frames can stand in for any video if
the source states their `frame_rate`. `SOURCES` is the whole list: what it names is
tested and shown in the docs' tables; a source that is only imported works without being listed.
"""

from tubelet.data.sources.base import SourceConfig
from tubelet.data.sources.boxes import Boxes, VideoSource
from tubelet.data.sources.charades import CharadesSource
from tubelet.data.sources.clips import ClipSource
from tubelet.data.sources.joined import JoinedSource
from tubelet.data.sources.tubes import TubeSource
from tubelet.data.sources.unlabelled import UnlabelledClipSource, UnlabelledSource

__all__ = [
    "SOURCES",
    "Boxes",
    "CharadesSource",
    "ClipSource",
    "JoinedSource",
    "SourceConfig",
    "TubeSource",
    "UnlabelledClipSource",
    "UnlabelledSource",
    "VideoSource",
]

SOURCES: tuple[type[SourceConfig], ...] = (
    VideoSource,
    TubeSource,
    UnlabelledSource,
    JoinedSource,
    ClipSource,
    UnlabelledClipSource,
    CharadesSource,
)
