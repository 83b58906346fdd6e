// Stands for the viewer itself, which needs a browser and no reader of segmentations needs.
export const utilities = { contours: {} };
