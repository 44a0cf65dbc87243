"""llamaswap: model hot-swapping for local AI servers.

Read it in this order: `core` decides (pure: events in, effects out), `runtime` carries out (threads, processes, logs),
`web` speaks HTTP (one thread a connection, one pump for flowing bodies), `config` reads the user's YAML, `main` builds
the four and takes them down again. `demo` is a stand-in for a model server, for trying things out and for the tests.
"""

__version__ = "0.1.0"
