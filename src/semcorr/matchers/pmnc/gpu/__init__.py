"""PMNC in torch: on GPUs, in training, and as the exhaustive search.

Nothing else in `semcorr.matchers.pmnc` imports torch.
"""
