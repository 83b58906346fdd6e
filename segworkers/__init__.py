"""What one process can do: tile, read, segment, merge, measure. Knows neither Ray nor the command line."""
