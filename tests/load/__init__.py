"""Load as one client in a loop or one stranger makes it, on a hub of its own."""
