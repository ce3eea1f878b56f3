"""The search of `semcorr.matchers.pmnc.matcher.search` on the CPU: the same, faster."""
