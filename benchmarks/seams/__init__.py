"""How much error tiling and merging add: worlds with exact truth, models that err, this project and its peers."""
