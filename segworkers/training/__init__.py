"""Training of networks from annotated images: samples, augmentation, one loop, and what each family adds to it."""
