"""No model keeps running without us: the guardian, and the search for processes that an earlier llamaswap has left."""
