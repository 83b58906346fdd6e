"""DICOM: the only package that knows pydicom and highdicom."""
