"""`tubelet serve`: options to one call."""

from __future__ import annotations

from dataclasses import replace

from tubelet.cli.console import download_bar, note, out
from tubelet.errors import InputError
from tubelet.people.named import resolved
from tubelet.releases.table import weights_path
from tubelet.serving.settings import ServeSettings


def serve_model(settings: ServeSettings, host: str, port: int) -> None:
    """Download what is missing, then serve until stopped."""
    try:
        from tubelet.serving.run import serve
    except ImportError as error:
        raise InputError(
            "serving needs an optional extra", got=error, hint="pip install 'tubelet[serve]'"
        ) from error
    with download_bar() as progress:  # once, before several processes want it
        weights_path(settings.model, progress=progress)
    settings = replace(settings, people=resolved(settings.people, note))
    serve(settings, host=host, port=port, on_address=_tell)


def _tell(address: str) -> None:
    out.print(f"serving on {address}")
