"""Load and match in a parent, then match in children: run by test_processes.py, in a process of its own."""

import multiprocessing
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import semcorr


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def answer(matcher: semcorr.Matcher, seed: int) -> np.ndarray:
    return matcher.match(picture(0), picture(seed)).forward.points


class Answers(Dataset):
    def __init__(self, matcher: semcorr.Matcher) -> None:
        self.matcher = matcher

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> np.ndarray:
        return answer(self.matcher, index)


class Ask:
    """Matches in a child with a model of the parent: inherited by a fork, pickled for a spawned process."""

    def __init__(self, matcher: semcorr.Matcher) -> None:
        self.matcher = matcher
        self.encoded = matcher.encode(picture(0))

    def __call__(self, seed: int) -> np.ndarray:
        return self.matcher.match(self.encoded, picture(seed)).forward.points


def main(start: str) -> None:
    torch.set_num_threads(2)  # so that OpenMP's threads are there before the fork
    matcher = semcorr.load(grid=8, image_size=128)
    truth = [answer(matcher, seed) for seed in range(4)]
    context = multiprocessing.get_context(start)
    with context.Pool(1) as pool:
        check(pool.map(Ask(matcher), range(4)), truth)
    check(list(DataLoader(Answers(matcher), None, num_workers=1, multiprocessing_context=start)), truth)
    if start == "fork":
        ours, theirs = context.Pipe()
        child = context.Process(target=lambda: theirs.send([answer(matcher, seed) for seed in range(4)]))
        child.start()
        check(ours.recv(), truth)
        child.join()
        assert torch.get_num_threads() == 2
    print("the same answers")


def check(found: list[np.ndarray], truth: list[np.ndarray]) -> None:
    for one, other in zip(found, truth, strict=True):
        assert np.abs(np.asarray(one) - other).max() < 0.01


if __name__ == "__main__":
    main(sys.argv[1])
