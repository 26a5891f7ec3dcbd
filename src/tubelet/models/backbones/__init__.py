"""Backbones. `BACKBONES` is the whole list of families: what it names is tested, shrunk for smoke
runs and shown in the docs' tables; a family that is only imported works without being listed."""

from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.descriptors import DescriptorsConfig
from tubelet.models.backbones.hf import HubConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig
from tubelet.models.backbones.r3d import R3dConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.vit import ViTConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.backbones.x3d import X3DConfig

BACKBONES: tuple[type[BackboneConfig], ...] = (
    SlowFastConfig, ResNet3dConfig, R2Plus1dConfig, R3dConfig, CSNConfig, ViViTConfig, ViTConfig,
    X3DConfig, DescriptorsConfig, HubConfig,
)  # fmt: skip
