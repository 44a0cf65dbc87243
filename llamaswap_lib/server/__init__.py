"""The clients' side: listening, reading requests, writing answers."""
