"""The experiment of the paper, whole, on a small data set: from the check to the printed table."""

from itertools import pairwise

import converted
import pytest

OPTIONS = ("--backbone", "resnet18", "--backbone-weights", "random", "--image-size", 96, "--steps", 2, "--limit", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory, folder):
    root = tmp_path_factory.mktemp("data")
    converted.pf_pascal(folder, root / "pf-pascal")
    converted.spair(folder, root / "spair-71k")
    return root


@pytest.mark.slow
def test_from_the_data_sets_to_the_table(tmp_path, data, run):
    rows = ("--recipe", "ncnet-weak-2", "--recipe", "pmnc-pf-pascal-25", "--recipe", "pmnc-spair-71k-50")
    command = ("paper", "--root", tmp_path / "paper", "--data", data, *rows, *OPTIONS)
    code, plan, err = run(*command, "--dry-run")
    assert code == 0, err
    steps = ["check pf-pascal", "train ncnet-weak-1", "train ncnet-weak-2", "evaluate ncnet-weak-2"]
    steps += ["train pmnc-pf-pascal-25", "evaluate pmnc-pf-pascal-25"]
    steps += ["check spair-71k", "train pmnc-spair-71k-50", "evaluate pmnc-spair-71k-50"]
    assert [" ".join(line.split()) for line in plan.splitlines()] == [f"{step} to do" for step in steps]
    assert not (tmp_path / "paper").exists()
    code, tables, err = run(*command)
    assert code == 0, err
    assert "## PF-PASCAL" in tables
    assert "## SPair-71k" in tables
    assert "| NC-Net 25×25 | paper | 79 | 54.3 | 30.9 | 4.9 | 0.29 | 406 |" in tables
    assert "| PMNC 25×25 | paper | 86.8 | 74.5 | 58 | 14.7 | 0.09 | 273 |" in tables
    measured = [line.split("|")[3:9] for line in tables.splitlines() if "| measured |" in line]
    assert len(measured) == 3
    assert all(0 <= float(value.strip(" *")) <= 100 for cells in measured for value in cells[:4])
    for group in ("overlap", "category", "viewpoint", "truncation"):
        assert f"| {group} | method |" in tables
    assert (tmp_path / "paper" / "paper.md").read_text() == tables
    # again: nothing is trained, the table is the same
    code, again, err = run(*command)
    assert (code, again) == (0, tables)
    assert err.count("done before") == 6
    assert "training" not in err
    code, plan, _ = run(*command, "--dry-run")
    assert all(" done, took 0:" in line for line in plan.splitlines())
    code, _, err = run("paper", "--root", tmp_path / "paper", "--data", data, *rows, *OPTIONS[:-4], "--steps", 3)
    assert code == 2
    assert "with other settings: choose another --root" in err


def test_unknown_names_are_one_line(tmp_path, run):
    code, _, err = run("paper", "--root", tmp_path / "paper", "--recipe", "pmnc-pf-pascal-52")
    assert code == 2
    assert "did you mean pmnc-pf-pascal-50 or" in " ".join(err.split())
    code, _, err = run("paper", "--root", tmp_path / "paper", "--data", tmp_path, "--dataset", "pf-pascal")
    assert code == 2
    assert err.strip().splitlines()[-1].startswith("semcorr: ")


def test_every_recipe_of_a_row_exists_and_stages_follow_on_each_other(tmp_path):
    from semcorr.training.paper import ROWS, Paper, PaperOptions
    from semcorr.training.recipe import find_recipe

    experiment = Paper(tmp_path / "paper", PaperOptions())
    used = {name for rows in ROWS.values() for row in rows for name in row.recipes}
    assert used == {path.stem for path in find_recipe("paper/ncnet-weak-1").parent.glob("*.yaml")}
    for dataset, rows in ROWS.items():
        for row in rows:
            recipes = [experiment.recipe(name, dataset) for name in row.recipes]
            assert all(recipe.data.name == dataset for recipe in recipes)
            for before, after in pairwise(recipes):
                assert after.start == str(before.out / f"{before.model.kind}.safetensors")
