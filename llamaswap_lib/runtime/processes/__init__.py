"""The processes of models: whether one can be started, its start, and the end of all that it started."""
