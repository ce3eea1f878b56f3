"""Neighbourhood consensus: functions that judge a correspondence by the correspondences around it."""
