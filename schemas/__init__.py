"""The nouns: what a run talks about, and the contracts it writes down. Imports nothing of ours."""
