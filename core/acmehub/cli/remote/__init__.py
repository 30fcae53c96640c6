"""A hub elsewhere: the verbs of `admin` as requests to its API."""
