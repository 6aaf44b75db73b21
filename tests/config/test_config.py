import copy
import pickle
import stat
from pathlib import Path

import pytest

from overnight.access import Secret
from overnight.config import make_home, model_name, read_config, settings_table
from overnight.errors import LocalError, UsageError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user without any configuration."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return tmp_path


def written(place: Path, text: str) -> dict[str, str]:
    file = place / "settings"
    file.write_text(text)
    return {"OVERNIGHT_CONFIG": str(file)}


def test_defaults_come_from_the_user_directories(place):
    config = read_config(environ={}, cwd=place)
    assert config.home == place / "xdg_data_home" / "overnight"
    assert config.cache == place / "xdg_cache_home" / "overnight"
    assert (config.poll, config.visibility, config.log_level, config.file) == (None, None, "info", None)
    assert set(config.origins.values()) == {"default"}
    assert not config.home.exists()


def test_flag_beats_environment_beats_file_beats_default(place):
    environ = written(place, 'poll = 7\nvisibility = 8\nlease = 9\nhome = "files/home"\n')
    environ |= {"OVERNIGHT_POLL": "0.5", "OVERNIGHT_VISIBILITY": "2", "OVERNIGHT_LOG_LEVEL": ""}
    config = read_config({"poll": 0.1, "home": None}, environ, cwd=place / "here")
    file = str(place / "settings")
    assert (config.poll, config.origins["poll"]) == (0.1, "--poll")
    assert (config.visibility, config.origins["visibility"]) == (2.0, "OVERNIGHT_VISIBILITY")
    assert (config.lease, config.origins["lease"]) == (9.0, file)
    assert (config.log_level, config.origins["log_level"]) == ("info", "default")
    assert config.home == place / "files/home"  # relative to the file
    assert read_config({"home": "flag"}, environ, cwd=place / "here").home == place / "here" / "flag"


def test_the_file_in_the_user_directory_is_read(place):
    file = place / "xdg_config_home" / "overnight" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('log_level = "debug"\n')
    config = read_config(environ={}, cwd=place)
    assert (config.log_level, config.origins["log_level"], config.file) == ("debug", str(file), file)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OVERNIGHT_POLL": "soon"}, "OVERNIGHT_POLL: must be a number of seconds, 0.01 or more"),
        ({"OVERNIGHT_POLL": "nan"}, "OVERNIGHT_POLL: must be a number of seconds, 0.01 or more"),
        ({"OVERNIGHT_VISIBILITY": "-1"}, "OVERNIGHT_VISIBILITY: must be a number of seconds"),
        ({"OVERNIGHT_LOG_LEVEL": "loud"}, "OVERNIGHT_LOG_LEVEL: must be one of debug, info, warning, error"),
        ({"OVERNIGHT_PROXY": "proxy:1"}, "OVERNIGHT_PROXY: must be a URL that begins with http:// or https://"),
        ({"OPENAI_API_KEY": "sk-a\nb"}, "OPENAI_API_KEY: holds characters that no key has; copy it again"),
        ({"OVERNIGHT_CONFIG": "/no/such"}, "no such configuration file: /no/such (OVERNIGHT_CONFIG)"),
    ],
)
def test_a_bad_variable_is_named(place, environ, message):
    with pytest.raises(UsageError) as error:
        read_config(environ=environ, cwd=place)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nhoem = 1\n", "`hoem` ({file}:2): unknown field; did you mean `home`?"),
        ("[keys]\na = 1\n", "`keys` ({file}:1): unknown field; known: home, cache, poll"),
        ("# poll\npoll = true\n", "`poll` ({file}:2): must be a number of seconds, 0.01 or more"),
        ("home = 3\n", "`home` ({file}:1): must be a path"),
        ("home = \n", "no valid TOML ({file}): "),
    ],
)
def test_a_bad_file_is_named_with_its_line(place, text, message):
    with pytest.raises(UsageError) as error:
        read_config(environ=written(place, text), cwd=place)
    assert str(error.value).startswith(message.format(file=place / "settings"))


def test_a_flag_is_named(place):
    with pytest.raises(UsageError, match=r"^--log-level: must be one of"):
        read_config({"log_level": "x"}, {}, place)


def test_keys_come_from_the_variables_of_the_sdk(place):
    environ = {"OPENAI_API_KEY": " sk-1\n", "OPENAI_BASE_URL": "http://u:p@localhost:1/v1", "OPENAI_ORG_ID": "org-1"}
    config = read_config(environ=environ, cwd=place)
    access = config.access["openai"]
    assert access.require_key().reveal() == "sk-1"
    assert (access.base_url, access.organization, access.project) == ("http://u:p@localhost:1/v1", "org-1", None)
    shown = config.shown()
    assert ("OPENAI_API_KEY", "present", "environment") in shown
    assert ("OPENAI_BASE_URL", "http://localhost:1/v1", "environment") in shown
    assert "sk-1" not in f"{shown}{config}{config!r}"


def test_a_missing_key_names_its_variable(place):
    config = read_config(environ={"OPENAI_API_KEY": ""}, cwd=place)
    with pytest.raises(UsageError, match="no key for openai: set the environment variable OPENAI_API_KEY"):
        config.access["openai"].require_key()
    assert ("OPENAI_API_KEY", "missing", "environment") in config.shown()


def test_a_secret_never_shows():
    secret = Secret("sk-very")
    assert "sk-very" not in f"{secret}{secret!r}{[secret]}"
    assert secret == Secret("sk-very") != Secret("sk-other")
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(secret)


def test_home_is_made_for_its_owner_only(place):
    config = read_config({"home": "a/home"}, {}, place)
    assert make_home(config) == place / "a/home"
    assert stat.S_IMODE((place / "a/home").stat().st_mode) == 0o700
    assert make_home(config) == place / "a/home"
    assert list((place / "a/home").iterdir()) == []


@pytest.mark.parametrize("home", ["file", "file/below", "/proc/overnight"])
def test_a_home_that_cannot_be_written_is_a_local_fault(place, home):
    (place / "file").write_text("")
    config = read_config(environ={"OVERNIGHT_HOME": home}, cwd=place)
    with pytest.raises(LocalError, match=r"^home .* \(OVERNIGHT_HOME\) cannot be written: .*; choose another"):
        make_home(config)


def test_model_names():
    assert model_name("openai/gpt-5.4-mini") == ("openai", "gpt-5.4-mini")
    assert model_name("openai/meta/llama") == ("openai", "meta/llama")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gpt-5.4-mini", "model `gpt-5.4-mini`: write provider/model, e.g. openai/gpt-5.4-mini or local/smollm2"),
        ("openai/", "model `openai/`: write provider/model, e.g. openai/gpt-5.4-mini or local/smollm2"),
        (
            "OpenAi/x",
            "model `OpenAi/x`: unknown provider `OpenAi`; did you mean `openai/x`? "
            "known: anthropic, azure, fake, gemini, groq, local, mistral, openai, together, vertex",
        ),
        (
            "zzz/x",
            "model `zzz/x`: unknown provider `zzz`; known: anthropic, azure, fake, gemini, groq, local, mistral, "
            "openai, together, vertex",
        ),
    ],
)
def test_bad_model_names(model, message):
    with pytest.raises(UsageError) as error:
        model_name(model)
    assert str(error.value) == message


def test_the_table_of_settings_names_every_variable(place):
    table = settings_table()
    for name in read_config(environ={}, cwd=place).origins:
        assert f"| `{name}` | `OVERNIGHT_{name.upper()}` |" in table
    assert str(Path.home()) not in table


@pytest.mark.parametrize(
    ("environ", "key", "variable"),
    [
        ({"ANTHROPIC_API_KEY": "sk-ant-1", "ANTHROPIC_AUTH_TOKEN": "t"}, "sk-ant-1", "ANTHROPIC_API_KEY"),
        ({"ANTHROPIC_AUTH_TOKEN": "t"}, "t", "ANTHROPIC_AUTH_TOKEN"),
    ],
)
def test_a_provider_may_have_its_key_in_one_of_two_variables(place, environ, key, variable):
    access = read_config(environ=environ, cwd=place).access["anthropic"]
    assert (access.require_key().reveal(), access.variable) == (key, variable)


@pytest.mark.parametrize("provider", ["azure", "gemini", "groq", "mistral", "together"])
def test_every_provider_of_the_catalogue_is_a_models_first_word(place, provider):
    assert model_name(f"{provider}/a/b") == (provider, "a/b")
    assert provider in read_config(environ={}, cwd=place).access


def test_a_base_url_is_taken_from_the_first_variable_then_from_the_file(place):
    environ = written(place, 'poll = 7\n[providers.azure]\nbase_url = "https://file.example"\n')
    access = read_config(environ=environ, cwd=place).access["azure"]
    assert access.base_url == "https://file.example"
    file = str(place / "settings")
    assert ("providers.azure.base_url", "https://file.example", file) in read_config(environ=environ).shown()
    environ |= {"AZURE_OPENAI_BASE_URL": "https://second", "OPENAI_API_VERSION": "2025-03-01-preview"}
    config = read_config(environ=environ, cwd=place)
    assert config.access["azure"].base_url == "https://second"
    assert config.access["azure"].version == "2025-03-01-preview"
    assert ("AZURE_OPENAI_BASE_URL", "https://second", "environment") in config.shown()
    environ |= {"AZURE_OPENAI_ENDPOINT": "https://first"}
    assert read_config(environ=environ, cwd=place).access["azure"].base_url == "https://first"


ACME = '[providers.acme]\nlike = "openai"\nbase_url = "https://acme.example/v1"\n'


def test_the_file_adds_a_provider_that_speaks_like_another(place):
    environ = written(place, ACME + 'key = "ACME_KEY"\nrows = 7\nhours = 48\n') | {"ACME_KEY": "k-1"}
    config = read_config(environ=environ, cwd=place)
    acme = config.access["acme"]
    assert (acme.require_key().reveal(), acme.base_url) == ("k-1", "https://acme.example/v1")
    assert (acme.known.name, acme.known.speaks, acme.known.dialect) == ("acme", "openai", "openai")
    assert (acme.known.limits.rows, acme.known.limits.window) == (7, 48 * 3600)
    assert acme.known.limits.size == config.access["openai"].known.limits.size
    assert model_name("acme/x", config.access) == ("acme", "x")
    assert ("ACME_KEY", "present", "environment") in config.shown()
    with pytest.raises(UsageError, match="no key for acme: set the environment variable ACME_KEY"):
        read_config(environ=environ | {"ACME_KEY": ""}, cwd=place).access["acme"].require_key()


def test_the_file_changes_the_limits_of_a_known_provider(place):
    access = read_config(environ=written(place, "[providers.groq]\nbytes = 190_000_000\n"), cwd=place).access
    assert (access["groq"].known.limits.size, access["groq"].known.limits.rows) == (190_000_000, 50_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("providers = 3\n", "`providers` ({file}:1): must be tables, like [providers.groq]"),
        ("[providers]\ngroq = 3\n", "`providers` ({file}:1): must be tables, like [providers.groq]"),
        (
            "[providers.acme]\n",
            "`providers.acme` ({file}:1): unknown provider: give it `like` (e.g. openai) and `base_url`; "
            "`like` is missing",
        ),
        ("[providers.Acme]\n", "`providers.Acme` ({file}:1): a provider's name has small letters"),
        (ACME + 'key = "sk-1"\n', "`providers.acme.key` ({file}:4): must be the name of an environment variable"),
        (ACME + "rows = 0\n", "`providers.acme.rows` ({file}:4): must be a whole number of at least 1"),
        (ACME.replace("openai", "vertex"), "`providers.acme.like` ({file}:2): must be one of openai, anthropic"),
        ('[providers.groq]\nkey = "K"\n', "`providers.groq.key` ({file}:2): groq is known already"),
        (
            'poll = 1\n[providers.groq]\nbaseurl = "x"\n',
            "`providers.groq.baseurl` ({file}:3): unknown field; did you mean `base_url`?",
        ),
        (
            '[providers.groq]\nbase_url = "x"\n',
            "`providers.groq.base_url` ({file}:2): must be a URL that begins with http:// or https://",
        ),
    ],
)
def test_a_bad_provider_is_named_with_its_line(place, text, message):
    with pytest.raises(UsageError) as error:
        read_config(environ=written(place, text), cwd=place)
    assert str(error.value).startswith(message.format(file=place / "settings"))


def test_a_missing_key_names_all_its_variables(place):
    with pytest.raises(UsageError, match="ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN"):
        read_config(environ={}, cwd=place).access["anthropic"].require_key()


def test_vertex_is_reached_by_googles_own_variables(place):
    environ = {
        "CLOUDSDK_AUTH_ACCESS_TOKEN": "ya29.x",
        "GOOGLE_VERTEX_BASE_URL": "http://localhost:1",
        "GOOGLE_CLOUD_PROJECT": "p",
        "GOOGLE_CLOUD_LOCATION": "us-central1",
        "STORAGE_EMULATOR_HOST": "http://localhost:2",
    }
    config = read_config(environ=environ, cwd=place)
    access = config.access["vertex"]
    assert (access.base_url, access.project, access.location) == ("http://localhost:1", "p", "us-central1")
    assert access.storage == "http://localhost:2"
    shown = config.shown()
    assert ("CLOUDSDK_AUTH_ACCESS_TOKEN", "present", "environment") in shown
    assert ("GOOGLE_CLOUD_LOCATION", "us-central1", "environment") in shown
    assert "ya29" not in f"{shown}"


@pytest.mark.parametrize("bucket", ["b", "gs://", "gs://b", "s3://bucket", "gs://bucket/../x", "gs://bucket/a b"])
def test_a_bucket_that_is_none_is_refused(place, bucket):
    with pytest.raises(UsageError, match="OVERNIGHT_VERTEX_BUCKET: must be a bucket"):
        read_config(environ={"OVERNIGHT_VERTEX_BUCKET": bucket}, cwd=place)


def test_a_bucket_and_a_folder(place):
    for given in ("gs://bucket", "gs://bucket/a/b_1/"):
        assert read_config({"vertex_bucket": given}, environ={}, cwd=place).vertex_bucket == given.rstrip("/")
