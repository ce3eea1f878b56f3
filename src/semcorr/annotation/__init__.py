"""Label one picture, label all: keypoints of a few annotated pictures moved to many others."""
