"""Decisions, as data in and data out: no thread, socket, clock, logging or configuration is imported in here."""
