"""`llamaswap top`: a live screen of a running server.

`state.py` is what is known; `sections.py`, `devices.py` and `drawing.py` make lines of it. These are pure. `screen.py`
has the terminal, `sources.py` the threads that ask the server, and `live.py` brings them together, on the main thread.
"""
