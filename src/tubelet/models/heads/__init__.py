"""Heads. `HEADS` is the whole list: what it names is tested with every backbone, shrunk for smoke
runs and shown in the docs' tables; a head that is only imported works without being listed."""

from tubelet.models.heads.acrn import ACRNHeadConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.grid import GridHeadConfig
from tubelet.models.heads.hr2o import HR2OHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.mlp import MlpHeadConfig
from tubelet.models.heads.none import NoHeadConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig

HEADS: tuple[type[HeadConfig], ...] = (
    LinearHeadConfig, MlpHeadConfig, NonlocalContextHeadConfig, SpatialRelationHeadConfig,
    TemporalRelationHeadConfig, ACRNHeadConfig, HR2OHeadConfig, GridHeadConfig, NoHeadConfig,
    ClipHeadConfig,
)  # fmt: skip
