"""What an exported file says of itself: classes, input, where its weights come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tubelet.answers import Answers
from tubelet.config import decode, encode
from tubelet.errors import CheckpointError
from tubelet.models.detector import ActionModelConfig

KEY = "tubelet"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCard:
    """`config` and `answers`: of the model that was exported. `licence` of the weights as their
    publisher states it, None if unknown; `origin`: lines about where they come from. `any_size`:
    whether the graph takes pictures of any size, or only `hw`. `precision`: "fp32", or "int8" after
    quantisation."""

    config: ActionModelConfig
    answers: Answers = field(default_factory=Answers)
    licence: str | None = None
    origin: tuple[str, ...] = ()
    any_size: bool = True
    hw: tuple[int, int]
    precision: str = "fp32"

    def to_metadata(self) -> dict[str, str]:
        """Text by key: `tubelet` for `from_metadata`, the others for programs without tubelet."""
        own = {
            "format": FORMAT,
            "config": encode(self.config),
            "answers": self.answers.to_header(),
            "licence": self.licence,
            "origin": list(self.origin),
            "any_size": self.any_size,
            "hw": list(self.hw),
            "precision": self.precision,
        }
        spec, labels = self.config.input, self.config.labels
        return {
            KEY: json.dumps(own, sort_keys=True),
            "classes": json.dumps(list(labels.names)),
            "class_ids": json.dumps(list(labels.ids)),
            "input": json.dumps(encode(spec), sort_keys=True),
            "licence": self.licence or "unknown: ask whoever published the weights",
            "source": "\n".join(self.origin) or "weights trained with tubelet",
        }

    @classmethod
    def from_metadata(cls, found: Mapping[str, str], *, where: object) -> GraphCard:
        """The card in a file's metadata. Raises CheckpointError for a file without a valid one."""
        if KEY not in found:
            raise CheckpointError(
                "this graph was not exported by tubelet",
                where=where,
                expected=f"metadata {KEY!r}, which says classes and input",
                got=f"{sorted(found)[:5]}",
                hint="write it with `tubelet export`",
            )
        try:
            told: Any = json.loads(found[KEY])
            form = told["format"]
            if form == FORMAT:
                height, width = (int(side) for side in told["hw"])
                return cls(
                    config=decode(ActionModelConfig, told["config"], where=str(where)),
                    answers=Answers.from_header(told["answers"], where=where),
                    licence=told["licence"],
                    origin=tuple(map(str, told["origin"])),
                    any_size=bool(told["any_size"]),
                    hw=(height, width),
                    precision=str(told["precision"]),
                )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(
                "invalid metadata in an exported graph", where=where, got=error
            ) from error
        raise CheckpointError(
            "a graph exported in another format", where=where, expected=FORMAT, got=form
        )
