"""Files of YAML as typed values: where each value stands, what is wrong with it, and what of it is secret."""
