"""Ground truth of many formats, as masks on the pixels of a source."""
