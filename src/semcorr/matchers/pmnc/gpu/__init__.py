"""PMNC in torch: on graphics devices, in training, and as the exhaustive search.

Nothing else of `semcorr.matchers.pmnc` imports torch.
"""
