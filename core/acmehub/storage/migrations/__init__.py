"""The steps of the schema, oldest first. What a released step does never changes: databases exist in which it ran.

Rules (SQLite can do no other): add nullable columns or ones with a constant default, uniqueness by index, never alter;
anything else is a rebuilt table, written by hand (foreign keys are not enforced meanwhile, but checked at the end). Raw
statements stand only for what Piccolo cannot say, and run before the other steps of the same migration. A new column
stands in `tables`, a new index in `indexes`, and tests compare both with what the migrations make.
"""
