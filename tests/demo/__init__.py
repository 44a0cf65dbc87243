"""The demo server, as a real child process."""
