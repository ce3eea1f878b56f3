"""Models as ONNX files: exported with torch, run without it."""
