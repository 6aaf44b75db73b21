"""What a start costs: which modules are loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from overnight.cli.group import MODULES, command
from overnight.config import SETTINGS
from tests.cli.calling import call

NEVER_FOR_HELP = {
    "asyncio", "sqlalchemy", "aiohttp", "alembic", "rich", "pyarrow", "ruamel", "genai_prices", "jsonschema_rs",
    "jinja2", "starlette", "msgspec", "orjson", "overnight.config", "overnight.api",
}  # fmt: skip
NEVER_FOR_STATUS = {"aiohttp", "jinja2", "jsonschema_rs", "pyarrow", "genai_prices", "alembic", "starlette", "ruamel"}
PROBE = """
import json, sys
from overnight.cli import main
codes = [main(words.split()) for words in sys.argv[1:]]
sys.stderr.write(json.dumps([codes, sorted(sys.modules)]))
"""


def loaded(*commands: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROBE, *commands], capture_output=True, text=True, check=True)
    codes, modules = json.loads(done.stderr.splitlines()[-1])
    assert not any(codes)
    return set(modules)


def test_help_loads_nothing_heavy() -> None:
    modules = loaded("--help")
    assert not modules & NEVER_FOR_HELP
    assert not [
        name for name in modules if name.startswith("overnight.cli.") and name.split(".")[2] in MODULES.values()
    ]


def test_no_help_of_a_verb_loads_anything_heavy() -> None:
    assert not loaded(*(f"{verb} --help" for verb in MODULES)) & NEVER_FOR_HELP


def test_status_loads_only_what_it_reads() -> None:
    assert not loaded("status --json") & NEVER_FOR_STATUS


@pytest.mark.parametrize("verb", list(MODULES))
def test_every_verb_shows_an_example(verb: str) -> None:
    done = call(verb, "--help")
    assert done.code == 0
    assert f"overnight {verb}" in done.out.partition("Example")[2]


def test_every_setting_has_its_flag() -> None:
    flags = {param.name for param in command.params}
    assert flags >= set(SETTINGS)


def test_settings_stand_before_or_after_the_verb(tmp_path) -> None:
    for argv in (["--home", tmp_path / "a", "doctor", "--json"], ["doctor", "--json", "--home", tmp_path / "a"]):
        settings = {each["name"]: each for each in call(*argv).document["settings"]}
        assert settings["home"] == {"name": "home", "value": str(tmp_path / "a"), "origin": "--home"}
