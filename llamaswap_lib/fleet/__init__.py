"""Peers as a fleet: looks at them, what is known of each, and which of them a request goes to."""
