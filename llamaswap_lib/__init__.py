"""llamaswap: model hot-swapping for local AI servers.

Read it in this order: `core` decides (pure: events in, effects out), `runtime` carries out (threads, processes, logs).
A request comes in through `net` (one thread, all sockets) and `server` (the life of a connection), is understood by
`routing` and `endpoints`, and goes to its model through `proxy`; `wire` reads and writes HTTP. `config` reads the user's
YAML, `main` builds all of it and takes it down again. `demo` is a stand-in for a model server, for trying things out
and for the tests. docs/architecture.md says more.
"""

__version__ = "0.1.0"
