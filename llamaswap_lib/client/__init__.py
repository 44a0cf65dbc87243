"""What the commands that ask a running server share: the connection to it, the terminal, and how figures are written.

Runs on the main thread. It asks by the routes of docs/http.md, as any other client: a server on another machine, of an
earlier version, or llama-swap will do as far as they have the route.
"""
