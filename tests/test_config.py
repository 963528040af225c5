"""The configuration: files merge by key, every mistake is told at once, the sample and the page are complete."""

from __future__ import annotations

import json
import math
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from gpuwatch import config, plugins
from gpuwatch.errors import ConfigurationError
from gpuwatch.model import Site
from gpuwatch.settings import Settings

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "deploy" / "gpuwatch.toml"
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

# What has no default to show, or one that differs from node to node.
WITHOUT_DEFAULT = {"site.node", "devices.replay.file", "sinks.influxdb.servers"}
SERVERS = "sinks.influxdb.servers"


def write(path: Path, text: str) -> Path:
    """A file with `text`, and its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def mistakes_of(path: Path, overrides: dict[str, Any] | None = None, rooms: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with a configuration, with its file called FILE."""
    with pytest.raises(ConfigurationError) as refused:
        config.load(path, overrides, rooms)
    return [mistake.replace(str(path), "FILE") for mistake in refused.value.mistakes]


def own_plugins() -> Iterator[tuple[str, str]]:
    """Room and name of every plugin that comes with gpuwatch."""
    for room in plugins.ROOMS:
        for name, entry in sorted(plugins.available(room).items()):
            if entry.value.startswith("gpuwatch."):
                yield room, name


def keys_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and default of everything that can be set in a table."""
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from keys_of(type(default), f"{prefix}{name}.")
        elif not (isinstance(default, dict) and not prefix):
            yield f"{prefix}{name}", default


def all_keys() -> dict[str, Any]:
    """Everything that can be configured, plugins included, with defaults."""
    keys = dict(keys_of(Settings, ""))
    del keys["meter.models"]
    for room, name in own_plugins():
        keys |= dict(keys_of(plugins.load(room, name).Settings, f"{room}.{name}."))
    return keys


def test_no_file_means_defaults(tmp_path: Path) -> None:
    """An empty file and none at all are the same, and the defaults are the contract's."""
    settings = config.load(write(tmp_path / "g.toml", ""))

    agent, accounting = settings.agent, settings.accounting
    assert Settings().model_dump() == settings.model_dump()
    assert (agent.interval_seconds, agent.listen, agent.devices) == (1.0, ":9838", ("nvidia", "tpu", "amd"))
    assert (Path("/var/lib/gpuwatch"), Path("/run/gpuwatch/agent.sock")) == (agent.state_directory, agent.socket)
    assert (accounting.interval_seconds, accounting.listen, accounting.usage) == (60.0, ":9839", ("agents",))
    assert (settings.alerts.tolerance_ratio, settings.alerts.floor_device_hours) == (0.10, 1.0)
    assert (settings.meter.gap_seconds, *settings.meter.rule().values()) == (7.5, 0.05, 0.10, 0.02)


@pytest.mark.skipif(config.DEFAULT_PATH.parent.exists(), reason="this machine has a configuration of its own")
def test_default_path_need_not_exist() -> None:
    """gpuwatch runs where nobody configured anything."""
    settings = config.load()

    assert settings.files == ()
    assert Settings().model_dump() == settings.model_dump()


def test_named_file_must_exist(tmp_path: Path) -> None:
    """A file that was asked for and is not there is a mistake, not a default."""
    assert mistakes_of(tmp_path / "g.toml") == ["FILE: cannot be read; No such file or directory"]


def test_later_files_win_key_by_key(tmp_path: Path) -> None:
    """conf.d is read in lexical order after the file; tables merge, arrays replace; other files are left alone."""
    main = write(
        tmp_path / "g.toml",
        '[agent]\ninterval_seconds = 2\nlisten = ":1"\ndevices = ["nvidia", "demo"]\n[devices.demo]\ndevices = 2',
    )
    write(tmp_path / "conf.d" / "20-b.toml", '[agent]\nlisten = ":3"')
    write(
        tmp_path / "conf.d" / "10-a.toml",
        '[agent]\nlisten = ":2"\ndevices = ["demo"]\n[devices.demo]\nhot_device=1',
    )
    write(tmp_path / "conf.d" / ".hidden.toml", "nonsense")
    write(tmp_path / "conf.d" / "note.txt", "nonsense")

    settings = config.load(main)

    assert (
        settings.agent.interval_seconds,
        settings.agent.listen,
        settings.agent.devices,
    ) == (2.0, ":3", ("demo",))
    assert settings.devices == {"demo": {"devices": 2, "hot_device": 1}}
    assert [path.name for path in settings.files] == ["g.toml", "10-a.toml", "20-b.toml"]


def test_tables_are_merged_to_any_depth_and_arrays_replaced(tmp_path: Path) -> None:
    """A server or model of one file stands beside that of another; a list is the later one, whole."""
    main = write(
        tmp_path / "g.toml",
        '[agent]\nsinks = ["prometheus", "influxdb"]\n[meter.models.H100]\nbusy_ratio = 0.1\n'
        '[sinks.influxdb.servers.a]\nurl = "http://a:1"\nbucket = "b"\norg = "o"\n',
    )
    write(
        tmp_path / "conf.d" / "10-more.toml",
        '[agent]\nsinks = ["influxdb"]\n[meter.models.H100]\nnear_idle_ratio = 0.2\n[meter.models.A100]\n'
        '[sinks.influxdb.servers.b]\nurl = "http://b:1"\nbucket = "b"\norg = "o"\n',
    )
    for passed_over in (".20-hidden.toml", "30-old.toml.bak"):
        write(tmp_path / "conf.d" / passed_over, "no TOML")

    settings = config.load(main, rooms=("sinks",))

    assert ("influxdb",) == settings.agent.sinks
    assert {"a", "b"} == settings.sinks["influxdb"]["servers"].keys()
    assert {"H100", "A100"} == settings.meter.models.keys()
    assert (0.1, 0.2) == (settings.meter.models["H100"].busy_ratio, settings.meter.models["H100"].near_idle_ratio)


def test_command_line_wins_over_files(tmp_path: Path) -> None:
    """Dotted keys are merged last; an option that was not given is None and changes nothing."""
    main = write(tmp_path / "g.toml", '[agent]\nlisten = ":1"\nrequire_device = true')

    settings = config.load(main, {"agent.listen": ":2", "agent.require_device": None, "devices.demo.devices": 4})

    assert (
        settings.agent.listen,
        settings.agent.require_device,
        settings.devices,
    ) == (":2", True, {"demo": {"devices": 4}})


def test_overrides_on_top_of_settings_leave_these_alone(tmp_path: Path) -> None:
    """`with_overrides` makes new settings, as validated as the first."""
    first = config.load(write(tmp_path / "g.toml", '[agent]\nlisten = ":1"\n[devices.demo]\ndevices = 2'))

    second = config.with_overrides(first, {"agent.listen": ":2", "devices.demo.devices": 3})

    assert (first.agent.listen, first.devices["demo"]["devices"]) == (":1", 2)
    assert (second.agent.listen, second.devices["demo"]["devices"]) == (":2", 3)
    assert first.files == second.files
    with pytest.raises(ConfigurationError, match=r"command line: agent\.listen: '2' is not possible"):
        config.with_overrides(first, {"agent.listen": "2"})


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """File, key, what is wrong, what there is; a syntax error in one file hides nothing of another."""
    main = write(
        tmp_path / "g.toml",
        """
        [agnet]
        [agent]
        interval_second = 5
        listen = "9838"
        devices = ["nvidia", 3]
        state_directory = 4
        require_device = "yes"
        [meter]
        gap_seconds = "long"
        [meter.models."NVIDIA H100"]
        busy_ration = 0.1
        near_idle_ratio = 7
        [accounting]
        ledger = "mysql://user:hunter2@host/db"
        notifiers = "log"
        [site]
        node = "a b"
        [alerts]
        tolerance_ratio = nan
        [usage]
        agents = 5
        """,
    )
    broken = write(tmp_path / "conf.d" / "a.toml", "[agent\n")
    latin = tmp_path / "conf.d" / "b.toml"
    latin.write_bytes(b'a = "\xe9"')

    found = mistakes_of(main, {"agent.socket": "/" + "x" * 107})

    agent = (
        "interval_seconds, listen, state_directory, socket, jobs_directory, job_token_file, devices, host, jobs,"
        " sinks, require_device,"
    )
    assert {
        f"{broken}: is not TOML; Expected ']' at the end of a table declaration (at line 1, column 7)",
        f"{latin}: byte 5 is not UTF-8; TOML is UTF-8",
        "FILE: agnet: unknown key, did you mean 'agent'; there is: site, agent, accounting, access, meter, alerts,"
        " devices, host, jobs, sinks, schedulers, usage, notifiers",
        f"FILE: agent.interval_second: unknown key, did you mean 'interval_seconds'; there is: {agent}"
        " usage_token_file, web_config_file",
        'FILE: agent.listen: \'9838\' is not possible; it must be HOST:PORT, as in ":9838", "127.0.0.1:9838" or'
        ' "[::1]:9838"',
        "FILE: agent.devices[1]: 3 is not possible; it must be a string",
        "FILE: agent.state_directory: 4 is not possible; it must be a path, as a string",
        "FILE: agent.require_device: 'yes' is not possible; it must be true or false",
        "FILE: meter.gap_seconds: 'long' is not possible; it must be a number",
        "FILE: meter.models.\"NVIDIA H100\".busy_ration: unknown key, did you mean 'busy_ratio'; there is:"
        " busy_ratio, near_idle_ratio, activity_ratio",
        'FILE: meter.models."NVIDIA H100".near_idle_ratio: 7 is not possible; it must be less than or equal to 1',
        "FILE: accounting.ledger: its value (not shown) is not possible; it must be a URL that begins with"
        " sqlite:/// or postgresql://",
        "FILE: accounting.notifiers: 'log' is not possible; it must be an array",
        "FILE: site.node: 'a b' is not possible; it must be letters, digits and . _ - only",
        "FILE: alerts.tolerance_ratio: nan is not possible; it must be a finite number",
        "FILE: usage.agents: 5 is not possible; it must be a table",
        f"command line: agent.socket: '/{'x' * 77}… is not possible; it must be at most 107 bytes long,"
        " which is what the kernel takes",
    } == set(found)
    assert "hunter2" not in "".join(found)


def test_mistake_names_the_file_that_made_it(tmp_path: Path) -> None:
    """Of two files that set keys of one table, each answers for its own."""
    main = write(tmp_path / "g.toml", "[agent]\ninterval_seconds = 0")
    extra = write(tmp_path / "conf.d" / "x.toml", "[agent]\nintervall = 1")

    found = mistakes_of(main)

    assert found[0] == "FILE: agent.interval_seconds: 0 is not possible; it must be greater than 0"
    assert found[1].startswith(f"{extra}: agent.intervall: unknown key")


@pytest.mark.parametrize(
    "listen",
    [":9838", ":0", ":65535", "127.0.0.1:9838", "localhost:1", "gw-0.example.org:80", "[::1]:9838", "[::]:0"],
)
def test_address_is_host_and_port(listen: str) -> None:
    """What the web server can bind."""
    assert listen == config.with_overrides(Settings(), {"agent.listen": listen}).agent.listen


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "9838",
        ":",
        ":port",
        ":65536",
        ":99999999999",
        "::1:80",
        "[::1]",
        "a b:80",
        "http://h:80",
        ":80\n",
        ":٣",
    ],
)
def test_other_address_is_refused_at_load(listen: str) -> None:
    """Not when the server starts, after everything else did."""
    with pytest.raises(ConfigurationError, match=r"agent\.listen: .* must be HOST:PORT"):
        config.with_overrides(Settings(), {"agent.listen": listen})


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "America/St_Johns"])
def test_time_zone_is_one_that_this_machine_knows(name: str) -> None:
    """Days of the ledger begin at its midnight."""
    assert name == str(config.with_overrides(Settings(), {"accounting.timezone": name}).accounting.zone)


@pytest.mark.parametrize("name", ["", "Berlin", "/etc/localtime", "../UTC", "Europe/Berlin\0", "Europe"])
def test_other_time_zone_is_refused_at_load(name: str) -> None:
    """Not when the first day ends."""
    with pytest.raises(ConfigurationError, match=r"accounting\.timezone: .* must be the name of a time zone"):
        config.with_overrides(Settings(), {"accounting.timezone": name})


@pytest.mark.parametrize("key", ["gap_seconds", "busy_ratio", "near_idle_ratio", "activity_ratio"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "0.1", True, 10_000])
def test_thresholds_are_positive_numbers(key: str, value: object) -> None:
    """The state rule divides and compares with them."""
    with pytest.raises(ConfigurationError, match=f"meter.{key}: "):
        config.with_overrides(Settings(), {f"meter.{key}": value})


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["busy_ratio", "near_idle_ratio", "activity_ratio"]), st.floats(0.001, 1)))
def test_model_has_the_general_thresholds_but_for_its_own(own: dict[str, float]) -> None:
    """What a model's table leaves out is as for all others."""
    settings = config.with_overrides(Settings(), {"meter.busy_ratio": 0.5, "meter.models.H100": own})

    general = {"busy_ratio": 0.5, "near_idle_ratio": 0.10, "activity_ratio": 0.02}
    assert {"H100": general | own} == settings.meter.rules()


def test_gap_shorter_than_the_interval_is_a_contradiction(tmp_path: Path) -> None:
    """Every interval would be a gap, and nothing measured."""
    found = mistakes_of(write(tmp_path / "g.toml", "[agent]\ninterval_seconds = 10"))

    expected = (
        "configuration: meter.gap_seconds: 7.5 would make every interval a gap;"
        " it must be greater than agent.interval_seconds, which is 10.0"
    )
    assert [expected] == found


def test_settings_cannot_be_changed() -> None:
    """Frozen, so that what was validated is what runs."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().agent.listen = ":1"  # type: ignore[misc]


PLUGIN = """
from pydantic import BaseModel, ConfigDict

class Source:
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        colour: str
        password: int = 1

    def __init__(self, settings, site):
        self.settings, self.site = settings, site
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of somebody else with two device plugins, one of which cannot be imported."""
    write(tmp_path / "site" / "stranger.py", PLUGIN)
    write(
        tmp_path / "site" / "stranger-1.0.dist-info" / "entry_points.txt",
        "[gpuwatch.devices]\nlamp = stranger:Source\nbroken = stranger_missing:Source\n",
    )
    write(tmp_path / "site" / "stranger-1.0.dist-info" / "METADATA", "Name: stranger\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "g.toml"


def test_plugin_is_built_with_its_validated_table(stranger: Path) -> None:
    """A stranger's plugin comes by the same door as ours."""
    write(stranger, '[site]\ncluster = "c"\nnode = "n"\n[devices.lamp]\ncolour = "red"')

    source = config.build("devices", "lamp", config.load(stranger))

    assert (source.settings.colour, source.settings.password) == ("red", 1)
    assert Site("c", "n", "/proc", "/sys") == source.site


def test_mistakes_in_tables_of_plugins_are_told_with_the_rest(stranger: Path) -> None:
    """One run of `gpuwatch check` is enough to put a configuration right."""
    write(
        stranger,
        '[agent]\nlisten = 1\ndevices = ["lamp", "lmap", "broken"]\n'
        '[devices.lamp]\ncolor = "red"\npassword = "hunter2"\n[devices.nvdia]\n[sinks.prometheus]\nx = 1\n',
    )

    found = mistakes_of(stranger, rooms=("devices",))

    there = "there is: " + ", ".join(sorted(plugins.available("devices")))
    assert "FILE: agent.listen: 1 is not possible; it must be a string" in found
    assert f"FILE: agent.devices: no plugin 'lmap', did you mean 'lamp'; {there}" in found
    assert f"FILE: devices.nvdia: no plugin 'nvdia', did you mean 'nvidia'; {there}" in found
    assert "FILE: devices.lamp.colour: missing; it has no default" in found
    assert "FILE: devices.lamp.color: unknown key, did you mean 'colour'; there is: colour, password" in found
    assert (
        "FILE: devices.lamp.password: its value (not shown) is not possible; it must be a valid integer"
        in "".join(found)
    )
    assert "devices.broken: cannot be imported; No module named 'stranger_missing'" in found
    assert len(found) == 7


def test_check_plugins_tells_what_build_would(stranger: Path) -> None:
    """All rooms by default; `build` refuses the same table."""
    settings = config.load(write(stranger, '[devices.lamp]\ncolor = "red"\n[schedulers.abacus]\n'))

    with pytest.raises(ConfigurationError) as checked:
        config.check_plugins(settings, ("devices", "schedulers"))
    with pytest.raises(ConfigurationError) as built:
        config.build("devices", "lamp", settings)

    assert set(built.value.mistakes) < set(checked.value.mistakes)
    assert f"{stranger}: schedulers.abacus: no plugin 'abacus'; there is: " in checked.value.mistakes[-1]


def test_plugin_that_is_not_installed_cannot_be_built() -> None:
    """The message names those that are."""
    with pytest.raises(ConfigurationError, match=r"devices: no plugin 'abacus'; there is: .*nvidia"):
        config.build("devices", "abacus", Settings())


def uncommented(text: str) -> str:
    """The sample with every setting switched on: `#key` is one, `# text` is not."""
    return re.sub(r"(?m)^#(?=[a-z\[])", "", text)


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def plain(value: Any) -> Any:
    """A default as TOML has it."""

    def written(each: Any) -> Any:
        if isinstance(each, re.Pattern):
            return each.pattern
        return sorted(each) if isinstance(each, frozenset) else str(each)

    return json.loads(json.dumps(value, default=written))


def test_sample_loads_and_changes_nothing() -> None:
    """It may be installed as it is."""
    assert Settings().model_dump() == config.load(SAMPLE).model_dump()


def test_sample_shows_every_key_with_its_default() -> None:
    """Uncommented it says the defaults; a key whose default is unset has an example."""
    shown = flat(tomllib.loads(uncommented(SAMPLE.read_text(encoding="utf-8"))))
    shown = {key: value for key, value in shown.items() if not key.startswith("meter.models.")}
    shown |= dict.fromkeys([SERVERS for key in shown if key.startswith(f"{SERVERS}.")])
    shown = {key: value for key, value in shown.items() if not key.startswith(f"{SERVERS}.")}
    keys = all_keys()

    assert sorted(keys) == sorted(shown)
    for key, default in keys.items():
        if default is not None and key not in WITHOUT_DEFAULT:
            assert (key, plain(default)) == (key, shown[key])


def test_sample_with_everything_switched_on_is_valid(tmp_path: Path) -> None:
    """Its examples are possible values, also for the plugins."""
    text = uncommented(SAMPLE.read_text(encoding="utf-8"))
    # A token and a user exclude each other.
    text = re.sub(r'\ntoken_file = "/etc/gpuwatch/(usage|alertmanager)-token"', "", text)
    path = write(tmp_path / "g.toml", text)

    assert {"H100"} == set(config.load(path, rooms=plugins.ROOMS).meter.models)


def documented() -> dict[str, str]:
    """Key and the rest of its row in the tables of docs/configuration.md."""
    return dict(re.findall(r"(?m)^\| `([^`]+)` \| (.*) \|$", PAGE))


def test_page_has_every_key_with_its_default() -> None:
    """Generated-like: a key that is added, removed or changes its default changes the page."""
    rows = documented()
    keys = all_keys() | {f"meter.models.NAME.{name}": None for name in Settings().meter.rule()}
    servers = plugins.load("sinks", "influxdb").Settings.model_fields["servers"].annotation
    keys |= dict(keys_of(get_args(servers)[1], f"{SERVERS}.NAME."))

    assert sorted(keys) == sorted(rows)
    for key, default in keys.items():
        if default == "required":
            assert (key, "required") == (key, rows[key].split(" | ")[0])
        elif key not in WITHOUT_DEFAULT:
            shown = "unset" if default is None else f"`{json.dumps(plain(default))}`".replace("|", "\\|")
            assert (key, shown) == (key, rows[key].split(" | ")[0])


def test_page_is_what_the_settings_make_of_it() -> None:
    """`make generate` was run after the last change of a setting, and every key has a meaning."""
    anew = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))["render"](PAGE)

    assert anew == PAGE
    assert [] == [key for key, rest in documented().items() if not rest.partition(" | ")[2].strip()]


def test_page_says_what_the_settings_say() -> None:
    """The meaning of a key is written once, in its description."""
    rows = documented()
    for table, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, each in model.model_fields.items():
                if name != "models":
                    assert rows[f"{table}.{name}"].endswith(f" | {each.description}")


@pytest.mark.parametrize(
    ("groups", "wrong"),
    [
        ('a = ["x"]', "must list CLUSTER/ACCOUNT, or */ACCOUNT for all clusters; 'x' is neither"),
        ('a = ["/x"]', "must list CLUSTER/ACCOUNT, or */ACCOUNT for all clusters; '/x' is neither"),
        ('"" = ["x/y"]', "must have names of 1 to 128 printable characters; '' is none"),
        ('a = ["h/x"]\nb = ["h/x"]', "must have each account in one group; 'b' has h/x and 'a' has h/x"),
        ('a = ["h/x"]\nb = ["*/x"]', "must have each account in one group; 'b' has */x and 'a' has h/x"),
        ('a = ["*/x"]\nb = ["h/x"]', "must have each account in one group; 'b' has h/x and 'a' has */x"),
    ],
)
def test_an_account_is_in_one_group(tmp_path: Path, groups: str, wrong: str) -> None:
    """Else two budgets would be charged for it."""
    (mistake,) = mistakes_of(write(tmp_path / "g.toml", f"[accounting.groups]\n{groups}"))

    assert mistake.startswith("FILE: accounting.groups: ")
    assert mistake.endswith(f" is not possible; it {wrong}")


def test_groups_may_name_an_account_twice_and_have_slashes_in_it(tmp_path: Path) -> None:
    """Of every cluster and of one; a namespace is an account too."""
    settings = config.load(write(tmp_path / "g.toml", '[accounting.groups]\na = ["*/x/y", "h/x/y"]\nb = []'))

    assert {"a": ("*/x/y", "h/x/y"), "b": ()} == settings.accounting.groups


def test_environment_sets_nothing() -> None:
    """Two agents that differ by a variable nobody sees are a trap."""
    probe = "from gpuwatch import config; print(config.with_overrides(config.Settings(), {}).agent.listen)"
    environment = {
        "AGENT__LISTEN": ":1",
        "GPUWATCH_AGENT_LISTEN": ":1",
        "agent": '{"listen": ":1"}',
        "LISTEN": ":1",
    }

    printed = subprocess.run(
        [sys.executable, "-c", probe], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert printed.stdout == ":9838\n"
