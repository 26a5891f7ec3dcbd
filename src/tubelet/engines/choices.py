"""The engines that a forward pass may run in. Without torch, for those who only offer them."""

from typing import Literal, get_args

EngineChoice = Literal["auto", "torch", "openvino", "onnxruntime", "tensorrt"]
ENGINES: tuple[EngineChoice, ...] = get_args(EngineChoice)
FileKind = Literal["onnx", "openvino", "torch"]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)
SUFFIXES: dict[FileKind, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
