"""Which endpoint and which model a request is for, and whether it may have them. Pure."""
