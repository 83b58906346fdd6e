"""The parts of `segworkers evaluate`: comparing a run with truth, tables, pictures and the page."""
