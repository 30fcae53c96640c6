"""What operators do: the one place that CLI, API and console call."""
