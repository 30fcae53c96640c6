"""What the commands share: the session with a hub, options of resources, the terminal, exit status."""
