"""A finished or stopped run for people: the memory plot and the report page. Loads no torch."""
