"""What every verb of operators passes: the gate, errors, and how objects are named."""
