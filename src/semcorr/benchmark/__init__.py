"""``semcorr benchmark``: what every method costs on grids of many sizes, and what it is worth."""
