"""Recipes: what a file may say, and what is refused by name."""

import pytest

from minicnn import models
from minicnn.cli.train import RECIPES
from minicnn.data import from_config
from minicnn.errors import MinicnnError
from minicnn.recipe import Recipe, load_recipes, parse_setting
from minicnn.schedules import from_config as make_schedule

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(*arguments):
    [recipe] = load_recipes(*arguments)
    return recipe


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_names_only_what_exists(name):
    for recipe in load_recipes(name, RECIPES):
        net = models.architecture(recipe.model)
        recipe.make_optimizer(net.layer(net.score_layer).parameters())
        make_schedule(recipe.schedule)
        from_config(recipe.augment)


def test_a_recipe_of_several_models_is_one_for_each(tmp_path):
    text = GOOD.replace('model = "lenet5"', 'models = ["lenet5", "resnet20"]')
    assert load_recipes(written(tmp_path, text), RECIPES, {"epochs": 2}) == [
        Recipe(model=model, data="digits", epochs=2) for model in ("lenet5", "resnet20")
    ]


@pytest.mark.parametrize("models", ["[]", '"lenet5"', "[1]", '["lenet5", "lenet5"]'])
def test_models_that_are_no_list_of_different_names_are_refused(tmp_path, models):
    text = GOOD.replace('model = "lenet5"', f"models = {models}")
    with pytest.raises(MinicnnError, match=r"mine.toml: models = .*: expected a list of different models"):
        load_recipes(written(tmp_path, text), RECIPES)


def test_overrides_replace_single_settings():
    recipe = load_recipe("lenet5-mnist", RECIPES, {"epochs": 2, "optimizer.lr": 0.5})
    assert recipe.epochs == 2
    assert recipe.optimizer["lr"] == 0.5
    assert recipe.optimizer["momentum"] == load_recipe("lenet5-mnist", RECIPES).optimizer["momentum"]


def test_a_recipe_without_adversarial_training_is_recorded_as_before_there_was_any():
    recipe = load_recipe("lenet5-mnist", RECIPES)
    assert "adversarial" not in recipe.settings()
    fooled = load_recipe("lenet5-mnist", RECIPES, {"adversarial.epsilon": 0.1})
    assert fooled.settings() == recipe.settings() | {"adversarial": {"epsilon": 0.1}}


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("optimizer.lr=0.1", ("optimizer.lr", 0.1)),
        ("epochs=3", ("epochs", 3)),
        ("data=digits", ("data", "digits")),
        ('model="lenet5"', ("model", "lenet5")),
        ("augment=[{name='flip'}]", ("augment", [{"name": "flip"}])),
    ],
)
def test_a_setting_on_the_command_line_is_read_as_toml_or_as_text(text, setting):
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["epochs", "=3"])
def test_a_setting_without_name_or_value_is_refused(text):
    with pytest.raises(MinicnnError, match="expected NAME=VALUE"):
        parse_setting(text)


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


GOOD = 'model = "lenet5"\ndata = "digits"\nepochs = 1\n'


def test_a_recipe_of_ones_own_is_read_from_its_path(tmp_path):
    assert load_recipe(written(tmp_path, GOOD), RECIPES) == Recipe(model="lenet5", data="digits", epochs=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = ", "not a TOML file"),
        ('model = "lenet5"\nepochs = 1\n', "data is missing"),
        (GOOD + "epoch = 2\n", "unknown setting 'epoch'; did you mean 'epochs'"),
        (GOOD.replace("1", "0"), "epochs = 0: expected a whole number of 1 or more"),
        (GOOD.replace("1", "true"), "epochs = True"),
        (GOOD + 'batch_size = "big"\n', "batch_size = 'big'"),
        (GOOD + 'optimizer = "sgd"\n', "optimizer = 'sgd': expected a mapping"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path, text, message):
    with pytest.raises(MinicnnError, match=message):
        load_recipe(written(tmp_path, text), RECIPES)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"name": "sdg", "lr": 0.1}, "optimizer 'sdg'; did you mean 'sgd'"),
        ({"name": "sgd", "lr": 0.1, "momentun": 0.9}, "no option 'momentun'; did you mean 'momentum'"),
        ({"name": "sgd", "lr": "fast"}, "lr = 'fast': expected a number"),
        ({"name": "adam", "lr": -1.0}, "lr -1.0"),
    ],
)
def test_a_wrong_optimizer_says_what_is_wrong(optimizer, message):
    recipe = Recipe(model="lenet5", data="digits", epochs=1, optimizer=optimizer)
    with pytest.raises(MinicnnError, match=message):
        recipe.make_optimizer(models.architecture("lenet5").parameters())


def test_an_unknown_recipe_gives_the_nearest_name():
    with pytest.raises(MinicnnError, match="no recipe 'lenet5-mnits'; did you mean 'lenet5-mnist'"):
        load_recipe("lenet5-mnits", RECIPES)
