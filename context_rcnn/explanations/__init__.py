"""What detections attend to: `attention` of a model, and `attended`, JSON lines for a run."""
