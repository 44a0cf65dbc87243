"""A stand-in for a model server: OpenAI-compatible, no model, no dependencies, and every failure on demand.

Run it as `python -m llamaswap_lib.demo` or `python llamaswap_lib/demo`; `--help` tells the flags. `flags` reads them,
`loop` moves bytes for all connections on the one thread there is, `wire` is HTTP, `server` knows the routes,
`generation` paces one answer, `dialects` and `native` shape it for its API, `text` makes up what it says, `trouble`
is what goes wrong. It imports nothing of the rest of llamaswap, and little of the standard library, to start quickly.
"""
