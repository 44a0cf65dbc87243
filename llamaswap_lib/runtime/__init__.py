"""The threads: carries the scheduler's effects out and reports what happened back to it as events."""
