"""What a detection drew on: `attention` of a model, and `attended`, that of a run as JSON lines."""
