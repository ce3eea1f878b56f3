"""Recipes: what is refused, and that those of the repository are valid."""

from pathlib import Path

import pytest

from semcorr.errors import DataError
from semcorr.training.loop import train
from semcorr.training.recipe import read_recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": "many"}, "steps: "),
        ({"steps": "0"}, "steps: "),
        ({"warmup": "2\nwarm_up: 3"}, "unknown key warm_up — did you mean warmup"),
        ({"data": "[1"}, "is not YAML"),
        ({"steps": "8\nloss: strong"}, "loss: "),
        ({"warmup": "2\nloss: weak"}, "pmnc does not compute"),
        ({"warmup": "2\nfine_only: true"}, "needs fine descriptors"),
        ({"warmup": "2\ndrop: [adapter]"}, "drop.0: "),
        ({"  radius": "1\n  kind: ncnett"}, "model: "),
        ({"  radius": "1\n  kind: ncnet"}, "unknown key model.ncnet.radius"),
    ],
)
def test_bad_recipes_name_the_key(tmp_path, folder, changes, message, recipe_file):
    with pytest.raises(DataError, match=message) as caught:
        read_recipe(recipe_file(tmp_path, folder, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            "leave_out: [cta]",
            "leave_out: no photograph is of the category 'cta' — did you mean cat",
        ),
        ("leave_out: [zebra]", "leave_out: no photograph is of the category 'zebra'; the data have cat"),
        ("together: [[cat, cats]]", "together: no photograph is of the category 'cats' — did you mean cat"),
    ],
)
def test_categories_that_the_data_do_not_have_are_refused(tmp_path, folder, recipe_file, changes, message):
    path = recipe_file(tmp_path, folder)
    path.write_text(f"{path.read_text()}{changes}\n")
    with pytest.raises(DataError, match=message):
        train(read_recipe(path))
    assert not read_recipe(path).out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\na: 2\n", "line 1: the key 'a' stands twice"),
        ("[" * 10_000, "is not YAML"),
        ("a: 2024-99-99\n", "is not YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not YAML"),
        ("a: &a [*a]\n? [1]\n: 2\n", "is not YAML|must contain|unknown key"),
    ],
)
def test_no_yaml_of_a_recipe(tmp_path, content, message):
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_recipe(tmp_path / "recipe.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_in_configs_is_one(path):
    assert read_recipe(path).out.name == path.stem


def test_options_take_the_place_of_folders(tmp_path, folder, recipe_file):
    recipe = read_recipe(recipe_file(tmp_path, "elsewhere"), data=folder, out=tmp_path / "other")
    assert (recipe.data.name, recipe.out) == (str(folder), tmp_path / "other")


def test_warps_need_photographs(tmp_path, folder, recipe_file):
    path = recipe_file(tmp_path, folder)
    path.write_text(path.read_text() + "warps: 2\n")
    with pytest.raises(DataError, match="need a folder of photographs"):
        read_recipe(path)
    path.write_text(path.read_text() + f"photographs: {tmp_path}\n")
    with pytest.raises(DataError, match="holds no photographs"):
        train(read_recipe(path))
