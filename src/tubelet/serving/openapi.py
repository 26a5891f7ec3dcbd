"""The OpenAPI document of a server, with the schema of `tubes.json` in it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import tubelet
from tubelet.serving.settings import ServeSettings

_ANY = {"type": "object"}
_SAID = {
    "type": "object",
    "required": ["what"],
    "properties": {key: {"type": "string"} for key in ("what", "expected", "got", "next")},
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _SAID}}
_STATES = ("receiving", "waiting", "fetching", "detecting", "done", "failed", "stopped")
_JOB = {
    "type": "object",
    "required": ["id", "name", "state", "progress"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "state": {"enum": list(_STATES)},
        "progress": {"type": "number", "minimum": 0, "maximum": 1},
        "people": {"type": "integer"},
        "result": {"type": "string", "description": "path of tubes.json, once done"},
        "error": _SAID,
    },
}
_WHY = {
    400: "no film, a broken form, or a film that stopped before its end",
    403: "an address that is not allowed, or another site's page",
    404: "no such job",
    408: "sending took too long",
    409: "not done yet",
    413: "too large",
    422: "not a film, or one that cannot be used",
    500: "a fault of the server's",
    502: "the address does not give the film",
    503: "busy: send it again after Retry-After",
    504: "fetching took too long",
}
_SENT = (400, 403, 408, 413, 422, 503)


def document(settings: ServeSettings) -> dict[str, Any]:
    """OpenAPI 3.1, with this server's bounds."""
    text = files("tubelet").joinpath("schemas/tubes.json").read_text(encoding="utf-8")
    job, tubes = _json("a job", _ref("Job")), _json("the result", _ref("Tubes"))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tubelet",
            "version": tubelet.__version__,
            "description": f"Who does what in a film. At most {settings.largest} bytes and "
            f"{settings.longest_s:g} s a film, {settings.places} films at once.",
        },
        "paths": {
            "/detect": {"post": _taking("Detect, and wait", {200: tubes}, (*_SENT, 500, 502, 504))},
            "/jobs": {"post": _taking("Begin a job", {202: job}, _SENT)},
            "/jobs/{id}": {
                "get": _of_a_job("Its state", {200: job}, (404,)),
                "delete": _of_a_job("Stop and forget it", {204: {"description": "gone"}}, (404,)),
            },
            "/jobs/{id}/events": {
                "get": _of_a_job("Its states as they change", {200: _events()}, (404,))
            },
            "/jobs/{id}/tubes.json": {
                "get": _of_a_job("Its result", {200: tubes}, (404, 409, 422, 500, 502, 504))
            },
            "/health": {"get": _operation("Whether it works", {200: _json("ready", _ANY)}, (503,))},
            "/metrics": {
                "get": _operation("Counters for Prometheus", {200: _plain("text/plain")}, ())
            },
        },
        "components": {"schemas": {"Error": _ERROR, "Job": _JOB, "Tubes": json.loads(text)}},
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(text: str, schema: Any) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _plain(kind: str) -> dict[str, Any]:
    return {"description": "text", "content": {kind: {"schema": {"type": "string"}}}}


def _events() -> dict[str, Any]:
    return _plain("text/event-stream") | {"description": "events named by state, data: a job"}


def _operation(
    summary: str, answers: dict[int, dict[str, Any]], errors: tuple[int, ...]
) -> dict[str, Any]:
    refused = {code: _json(_WHY[code], _ref("Error")) for code in errors}
    return {
        "summary": summary,
        "responses": {str(code): said for code, said in {**answers, **refused}.items()},
    }


def _of_a_job(
    summary: str, answers: dict[int, dict[str, Any]], errors: tuple[int, ...]
) -> dict[str, Any]:
    key = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return _operation(summary, answers, errors) | {"parameters": [key]}


def _taking(
    summary: str, answers: dict[int, dict[str, Any]], errors: tuple[int, ...]
) -> dict[str, Any]:
    """An operation that takes a film."""
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {"type": "object", "required": ["film"], "properties": {"film": binary}}
    url = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    bodies = {
        "application/octet-stream": {"schema": binary},
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": url},
    }
    name = {"name": "name", "in": "query", "schema": {"type": "string", "pattern": "^[\\w.-]+$"}}
    return _operation(summary, answers, errors) | {
        "parameters": [name],
        "requestBody": {"required": True, "content": bodies},
    }
