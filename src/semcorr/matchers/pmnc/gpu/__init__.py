"""The search of `semcorr.matchers.pmnc.matcher.search` on a graphics device: the same, without waiting."""
