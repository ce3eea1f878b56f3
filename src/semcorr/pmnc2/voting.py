"""placeholder"""
FADING = 0.75
FLOOR = 0.02
