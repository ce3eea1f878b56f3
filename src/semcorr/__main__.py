"""``python -m semcorr`` does what ``semcorr`` does."""

from semcorr.cli import main

if __name__ == "__main__":
    main()
