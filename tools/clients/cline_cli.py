# client: Cline (`cline`)
# npm: cline
# version: cline --version
"""Cline's command line, without a terminal."""

from tried import LARGE, LAUNCHED, SMALL, command, holds, settings, tried

with tried(LAUNCHED):
    settings("cline", "small")
    holds(command("cline", "hello there"), SMALL)
with tried("a prompt with a swap"):
    holds(command("cline", "-m", "large", "hello there"), LARGE)
