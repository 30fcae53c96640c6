"""What the hub does for clients and operators; the one place that CLI, API and console call."""
