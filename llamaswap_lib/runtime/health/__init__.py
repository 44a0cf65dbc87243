"""Whether a model's server answers: when it is ready, and whether it hangs."""
