"""Sockets: the loop that waits on all of them, what flows through it, and TLS."""
