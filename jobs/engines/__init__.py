"""Engines: ways to run many calls of one worker. They know nothing of images, models or tables."""
