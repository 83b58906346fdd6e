"""Training jobs: annotated folders, what is trained and validated on, one process or several."""
