"""What needs a person now: what fails, since when, in whose words, what to do."""
