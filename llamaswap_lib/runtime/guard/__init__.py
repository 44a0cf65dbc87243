"""No upstream keeps running without us: the guardian, and the search for processes that an earlier run has left."""
