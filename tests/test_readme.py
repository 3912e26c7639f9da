"""The README's examples run, its commands exist with the options shown, and what it links to is there."""

import re
import shlex
from pathlib import Path

import pytest

from minicnn import models
from minicnn.cli import COMMANDS, GROUPS, main
from minicnn.cli.networks import markdown
from minicnn.cli.train import RECIPES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)
COMMAND_LINES = sorted(set(re.findall(r"(?:`|/|^)(minicnn [^`\n#]+)", README, flags=re.M)))
LINKS = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]


def test_the_new_layer_is_the_one_whose_page_is_tested():
    page = (ROOT / "docs/new_layer.md").read_text(encoding="utf-8")
    code = re.findall(r"```python file=swish.py\n(.*?)```", README, flags=re.S)
    assert code and code == re.findall(r"```python file=swish.py\n(.*?)```", page, flags=re.S)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_python_example_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README example {number + 1}", "exec"), {"__name__": f"readme_{number}"})


def test_there_are_examples_commands_and_links():
    assert BLOCKS and len(COMMAND_LINES) >= len(COMMANDS) and LINKS


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_and_its_options_exist(line, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = shlex.split(line)[1:]
    path = words[:2] if words[0] in GROUPS else words[:1]
    assert path[0] in COMMANDS or path[1] in GROUPS[path[0]][1], line
    with pytest.raises(SystemExit) as stop:
        main([*path, "--help"])
    assert not stop.value.code
    shown = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert option in shown, f"{line}: there is no {option}"


def test_every_command_stands_in_the_readme():
    every = list(COMMANDS) + [f"{group} {name}" for group, (_, names) in GROUPS.items() for name in names]
    missing = [name for name in every if not any(line.startswith(f"minicnn {name}") for line in COMMAND_LINES)]
    assert not missing


@pytest.mark.parametrize("line", [line for line in COMMAND_LINES if line.startswith("minicnn train")])
def test_a_recipe_that_is_named_is_shipped(line):
    assert (RECIPES / f"{line.split()[2]}.toml").is_file()


def test_every_network_is_named():
    missing = [name for name in models.ARCHITECTURES if f"`{name}`" not in README]
    assert not missing


def test_the_table_of_networks_is_what_the_command_prints():
    """`minicnn summary --all --markdown` makes it."""
    assert markdown() in README


@pytest.mark.parametrize("link", LINKS)
def test_what_it_links_to_is_there(link):
    assert (ROOT / link).exists()
