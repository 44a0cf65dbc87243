"""The settings of coding agents and other clients for a model of this server, and how they get into files.

Guarantees: a file is changed only if all else in it stays as it is, comments included, which is checked by reading the
new text again; before that there is a copy of it, with the date in its name. Main thread.
"""
