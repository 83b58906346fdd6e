"""Classical segmenters for the demo: plain plugin files, as a user would write them. They import nothing of ours."""
