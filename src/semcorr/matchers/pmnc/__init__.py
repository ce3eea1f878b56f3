"""PatchMatch-based neighbourhood consensus (Lee, DeGol, Fragoso, Sinha, CVPR 2021)."""
