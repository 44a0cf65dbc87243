"""Configuration: YAML text in, frozen dataclasses out; an error says file, line, path, value and what was expected."""
