"""Many fronts: worker processes that share the listening socket of one parent, which keeps what is known as a whole."""
