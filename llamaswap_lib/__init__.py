"""llamaswap: model hot-swapping for local AI servers.

`core` decides (pure: events in, effects out), `runtime` carries out (threads, processes, logs). A request goes through
`net` (the loop, which has all sockets), `server`, `routing`, `endpoints` and `proxy`; `wire` reads and writes bytes.
`config` reads the user's YAML, `main` builds all of it and takes it down again. `demo` is a stand-in for a model's
server, for trying things out and for the tests. docs/architecture.md has the rest.
"""

__version__ = "0.1.0"
