"""HTTP: one thread for each connection, one more for all flowing bodies."""
