"""The paths of a server.

POST /detect            a film; waits, gives tubes.json
POST /jobs              a film; gives a job at once
GET /jobs/{id}          its state; /events the same as it changes, /tubes.json the result
DELETE /jobs/{id}       stops and forgets it
GET /health, /metrics, /openapi.json
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tubelet.errors import Refusal, TubeletError
from tubelet.serving.guard import Application, guarded, on_bug, on_http, on_refusal
from tubelet.serving.jobs import Job, Jobs
from tubelet.serving.openapi import document
from tubelet.serving.receive import address_in, check_length, receive
from tubelet.serving.refusal import described

_NAME = re.compile(r"[\w.-]{1,80}", re.ASCII)
_LOOK_S, _QUIET_S = 0.1, 15.0
_JSON = "application/json"


def application(jobs: Jobs, *, local: bool) -> Application:
    """The ASGI application of running `jobs`; `local` as `guarded` takes it."""
    paths = _Paths(jobs)
    inner = Starlette(
        routes=[
            Route("/detect", paths.detect, methods=["POST"]),
            Route("/jobs", paths.begin, methods=["POST"]),
            Route("/jobs/{key}", paths.look, methods=["GET"]),
            Route("/jobs/{key}", paths.forget, methods=["DELETE"]),
            Route("/jobs/{key}/events", paths.events, methods=["GET"]),
            Route("/jobs/{key}/tubes.json", paths.result, methods=["GET"]),
            Route("/health", paths.health, methods=["GET"]),
            Route("/metrics", paths.metrics, methods=["GET"]),
            Route("/openapi.json", paths.openapi, methods=["GET"]),
        ],
        exception_handlers={
            TubeletError: on_refusal,
            HTTPException: on_http,
            Exception: on_bug,
        },
    )
    return guarded(inner, jobs.meters, most=jobs.settings.requests, local=local)


@dataclass(frozen=True, slots=True)
class _Paths:
    jobs: Jobs

    async def detect(self, request: Request) -> Response:
        job = await self._taken(request)
        while not job.has_ended:
            if await request.is_disconnected():
                self.jobs.drop(job)
                return Response(status_code=499)  # nobody reads it; the counters do
            await asyncio.sleep(_LOOK_S)
        content = job.result.read_bytes() if job.state == "done" else None
        self.jobs.drop(job)
        if content is None:
            stopped = described(Refusal(503, "the job was stopped", hint="send the film again"))
            return JSONResponse(job.error or stopped, job.status if job.error else 503)
        return Response(content, media_type=_JSON)

    async def begin(self, request: Request) -> Response:
        job = await self._taken(request)
        return JSONResponse(job.to_json(), 202, headers={"Location": f"/jobs/{job.id}"})

    async def look(self, request: Request) -> Response:
        return JSONResponse(self._job(request).to_json())

    async def forget(self, request: Request) -> Response:
        self.jobs.drop(self._job(request))
        return Response(status_code=204)

    async def result(self, request: Request) -> Response:
        job = self._job(request)
        if job.error is not None:
            return JSONResponse(job.error, job.status)
        if job.state != "done":
            raise Refusal(
                409,
                "there is no result",
                expected="a job that is done",
                got=job.state,
                hint="ask for the job's state, or follow its events",
            )
        return FileResponse(job.result, media_type=_JSON)

    async def events(self, request: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            _events(self._job(request)), media_type="text/event-stream", headers=headers
        )

    async def health(self, _: Request) -> Response:
        ready = self.jobs.is_ready
        waiting, running = self.jobs.counts()
        said = {"status": "ok" if ready else "failing", "waiting": waiting, "running": running}
        return JSONResponse(said, 200 if ready else 503)

    async def metrics(self, _: Request) -> Response:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self.jobs.metrics(), headers={"Content-Type": kind})

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(document(self.jobs.settings))

    def _job(self, request: Request) -> Job:
        return self.jobs.get(request.path_params["key"])

    async def _taken(self, request: Request) -> Job:
        """The job of a request's film, queued. Nothing is left of one that is refused."""
        name = request.query_params.get("name", "film")
        if not _NAME.fullmatch(name):
            raise Refusal(
                400,
                "invalid name",
                expected="up to 80 of a–z, A–Z, 0–9 and ._-",
                hint="leave ?name= out, or simplify it",
            )
        check_length(request, self.jobs.settings)
        url = await address_in(request)
        job = self.jobs.admit(name, url)
        try:
            if url is None:
                await receive(request, job.film, self.jobs.settings)
            self.jobs.submit(job)
        except BaseException:
            self.jobs.drop(job)
            raise
        return job


async def _events(job: Job) -> AsyncIterator[str]:
    """Each new state, until the last; a comment now and then keeps the connection."""
    told, quiet = "", 0.0
    while True:
        ended = job.has_ended
        said = json.dumps(job.to_json())
        if said != told:
            told, quiet = said, 0.0
            yield f"event: {job.state}\ndata: {said}\n\n"
        if ended:
            return
        if quiet > _QUIET_S:
            quiet = 0.0
            yield ": still at it\n\n"
        await asyncio.sleep(_LOOK_S)
        quiet += _LOOK_S
