"""Tells of changes to files: `-watch-config`."""
