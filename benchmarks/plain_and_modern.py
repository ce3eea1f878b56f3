"""What the matchers and this library's additions are worth, trained alike: NC-Net, ANC-Net, PMNC in the paper's form,
and PMNC with one addition after another.

    semcorr weights convert tf_efficientnet_lite2 lite2.safetensors
    python benchmarks/plain_and_modern.py FOLDER --weights lite2.safetensors --out runs/plain-and-modern --seed 0

FOLDER is in the layout ``keypoints``. All forms learn in two stages, as in the paper: first the matching alone, on the
frozen backbone, and then jointly with the last blocks of the backbone; from the same pretrained weights, for the same
numbers of steps with as many pictures each, on the same grid. The last weights are kept: nothing is chosen on the pairs
of the test list, of which the table is. An interrupted run resumes. Every row is compared with an earlier one, by a
paired bootstrap over the pairs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from semcorr.evaluation import Options, compare
from semcorr.evaluation.results import Evaluation
from semcorr.evaluation.score import differences
from semcorr.features import FeatureOptions
from semcorr.matchers.pmnc.search import SearchOptions
from semcorr.models.configs import ANCNetConfig, ModelConfig, NCNetConfig, PMNCConfig, config_to_dict
from semcorr.training.loop import train
from semcorr.training.recipe import TrainingRecipe, find_recipe, read_recipe
from semcorr.weights import Weights, read_weights, write_weights

PICTURES = 8  # in a step of every form
RATE = 3e-3  # of the matching, unless a form says otherwise
ANCNET_RATE = 1e-3
SECOND = 1 / 3  # of the rate is left for the second stage


class Form(NamedTuple):
    """What is trained, and what it is compared with.

    Attributes:
        title: Its row in the table.
        model: The model.
        recipe: Keys of the recipe in which it differs from the others.
        against: Name of the form that it is compared with.
        trained_as: Name of the form whose weights it uses with another search; None trains its own.
    """

    title: str
    model: ModelConfig
    recipe: dict[str, Any]
    against: str | None = None
    trained_as: str | None = None


def forms(features: FeatureOptions) -> dict[str, Form]:
    """Return the forms by their names, in the order in which they are trained."""
    printed = read_recipe(find_recipe("paper/pmnc-pf-pascal-25")).model
    assert isinstance(printed, PMNCConfig)
    plain = replace(printed, features=features)
    own_search = replace(plain, search=SearchOptions())
    voting = replace(own_search, votes=2.0)
    adapted = replace(voting, adapter=256)
    alone = {"pictures": 2, "groups": PICTURES // 2, "pairs": 1, "contrast": 0.0}  # pairs, as the others are trained on
    group = {"pictures": PICTURES, "pairs": PICTURES // 2, "contrast": 0.5}
    dense = {"pairs": PICTURES // 2}
    ncnet = NCNetConfig(features, kernels=(3, 3, 3), channels=(10, 10, 1))
    ancnet = ANCNetConfig(features, channels=8, normalised=True)
    return {
        "ncnet": Form("NC-Net", ncnet, dense),
        "plain": Form("PMNC, the paper's form", plain, alone | {"filtered_only": True}, "ncnet"),
        "search": Form("+ search from 16 candidates", own_search, {}, "plain", "plain"),
        "both": Form("+ unfiltered map in the window", own_search, alone, "search"),
        "votes": Form("+ votes", voting, alone, "both"),
        "group": Form("+ contrastive loss, all pairs of 8 pictures", voting, group, "votes"),
        "adapter": Form("+ adapter", adapted, group, "group"),
        "warps": Form("+ warped and recoloured views: the modern form", adapted, group | {"views": 4}, "adapter"),
        "ancnet": Form("ANC-Net", ancnet, dense | {"learning_rate": ANCNET_RATE}, "ncnet"),
    }


def recipe_of(form: Form, common: dict[str, Any], out: Path, steps: int, **stage: Any) -> TrainingRecipe:
    """Return the recipe of one stage of a form's training."""
    chosen = {"views": 2, "keypoints": 6, "learning_rate": RATE, "adapter_rate": 1.5e-3, "backbone_rate": 3e-4}
    schedule = {"steps": steps, "warmup": max(1, steps // 10), "validate_every": steps, "average": 0.97}
    return TrainingRecipe(
        model=form.model, out=out, calibrate=False, **(common | chosen | schedule | form.recipe | stage)
    )


def weights_of(form: Form, common: dict[str, Any], out: Path, steps: tuple[int, int]) -> Path:
    """Train a form in both stages, and return its weights."""
    if form.trained_as is None:
        first = train(recipe_of(form, common, out / "first", steps[0]))
        rate = form.recipe.get("learning_rate", RATE) * SECOND
        return train(recipe_of(form, common, out, steps[1], start=str(first), train_from=4, learning_rate=rate))
    kind = form.model.kind
    trained = read_weights(out.parent / form.trained_as / f"{kind}.safetensors")
    out.mkdir(exist_ok=True)
    path = out / f"{kind}.safetensors"
    write_weights(path, Weights(trained.tensors, trained.metadata | {"model": config_to_dict(form.model)}))
    return path


def main() -> None:
    """Train, evaluate and print the table, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True, help="pretrained weights of the backbone, with timm's names")
    parser.add_argument("--backbone", default="tf_efficientnet_lite2")
    parser.add_argument("--out", type=Path, default=Path("runs/plain-and-modern"))
    parser.add_argument("--image-size", type=int, default=208)
    parser.add_argument("--grid", type=int, default=13)
    parser.add_argument("--steps", type=int, nargs=2, default=(60, 120), help="of the first and second stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation-pairs", type=int, default=300)
    parser.add_argument("--test-pairs", type=int, default=400)
    parser.add_argument("--forms", nargs="+", help="only these, in the order of the list")
    arguments = parser.parse_args()
    features = FeatureOptions(arguments.backbone, None, arguments.image_size, arguments.grid, arguments.weights)
    known = forms(features)
    common = {"data": str(arguments.folder), "seed": arguments.seed, "cache": arguments.out / "features"}
    common |= {"validation_pairs": arguments.validation_pairs}
    options = Options(split="test", limit=arguments.test_pairs, cost=False)
    evaluations: dict[str, Evaluation] = {}
    print("| | PCK at α = 0.1 / 0.05 / 0.03 | gain at 0.1 and 0.05 over | minutes |\n|---|---|---|---|", flush=True)
    for name in arguments.forms or known:
        form, out, began = known[name], arguments.out / f"seed-{arguments.seed}" / name, time.monotonic()
        path = weights_of(form, common, out, tuple(arguments.steps))
        chosen = replace(options, weights=path)
        evaluations[name] = compare(arguments.folder, [form.model.kind], chosen, out / "test").evaluations[0]
        row = described(form, evaluations[name], known, evaluations)
        print(f"| {row} | {(time.monotonic() - began) / 60:.1f} |", flush=True)


def described(form: Form, result: Evaluation, known: dict[str, Form], earlier: dict[str, Evaluation]) -> str:
    """Return the cells of a form's row, without the time."""
    figures = " / ".join(f"{result.scores.per_image[alpha]:.1f}" for alpha in (0.1, 0.05, 0.03))
    gained = "–"
    if form.against in earlier:
        gains = [gain for gain in differences(result, earlier[form.against]) if gain.alpha in (0.1, 0.05)]
        told = ", ".join(f"{gain.mean:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})" for gain in gains)
        gained = f"{known[form.against].title}: {told}"
    return f"{form.title} | {figures} | {gained}"


if __name__ == "__main__":
    main()
