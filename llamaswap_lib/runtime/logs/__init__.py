"""What the server and its models say: kept, followed, and shown on stdout."""
