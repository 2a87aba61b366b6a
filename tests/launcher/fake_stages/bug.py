"""Has a bug."""

raise ZeroDivisionError("a bug in the stage")
