"""Files that make llamaswap a service: `llamaswap systemd` and `llamaswap launchd` print them. Pure."""
