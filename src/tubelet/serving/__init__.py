"""A model behind HTTP (extra `tubelet[serve]`): films in, `tubes.json` out, within stated bounds.

`run.serve` starts it, `routes.application` is the ASGI application, `jobs` what happens to a film,
`worker` the process that detects in it.
"""
