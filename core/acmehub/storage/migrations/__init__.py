"""The steps of the schema, oldest first. A step that was released is never changed.

Rules (SQLite can do no other): add nullable columns or ones with a constant default, uniqueness by index, never alter;
anything else is a rebuilt table, written by hand (foreign keys are not enforced meanwhile, but checked at the end). Raw
statements run before the other steps of the same migration.
"""
