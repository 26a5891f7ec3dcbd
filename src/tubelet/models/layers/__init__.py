"""Blocks that several backbones share."""
