"""The fleet's nodes: what is down, lost, hot or slowed down, and each with what its devices do."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table, timeseries

from grafana import prometheus as ask
from grafana.blocks import (
    CELSIUS,
    COUNT,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    WATT,
    YELLOW,
    Band,
    Column,
    coloured,
    even,
    graded,
    graph,
    listing,
    stacked,
)
from grafana.prometheus import ACCOUNTING, NODE, RATE, WHOLE, lines

DEVICES = f"count({WHOLE})"
SHARE = f"gpuwatch_device_job_share{{{NODE}}}"
ZERO = f"0 * {DEVICES}"
EACH_NODE = f"count by (instance) ({WHOLE})"
EMPTY = "no agent is scraped"


def state_now(states: str) -> str:
    chosen = f'{NODE},state=~"{states}"'
    return f"{ask.in_state(chosen)} or {ZERO}"


def _unmeasured() -> timeseries.Panel:
    down = graph(
        "Not measured",
        "Nodes of any cluster whose agent cannot be scraped (the job is called gpuwatch-agent in the example "
        "configuration), devices that cannot be read, nodes that accounting could not read, devices held and not "
        "measured.",
        COUNT,
        lines(
            ("nodes down", ask.DOWN),
            ("devices not read", f"count(gpuwatch_device_up{{{NODE}}} == 0) or {ZERO}"),
            ("nodes accounting missed", f"sum(gpuwatch_accounting_nodes_failed{{{ACCOUNTING}}})"),
            ("state unknown", state_now("unknown")),
        ),
    ).axis_soft_max(1)
    shades = {
        "nodes down": RED,
        "devices not read": ORANGE,
        "nodes accounting missed": PURPLE,
        "state unknown": GREY,
    }
    return coloured(down, shades)


def faults() -> Band:
    """What is down, lost, hot or slowed down."""
    slow = graph(
        "Throttled",
        "Devices whose clocks are held down, by reason. A power cap is often meant; heat never is.",
        COUNT,
        lines(("{{reason}}", ask.throttled(NODE))),
        "no device is throttled",
    )
    hottest = ask.named(ask.by_device("gpuwatch_device_temperature_celsius"))
    hot = graph(
        "Hottest device of each model",
        "The hottest sensor of any device of the model.",
        CELSIUS,
        lines(("{{model}}", f"max by (model) ({hottest})")),
    )
    return even(
        8, _unmeasured(), coloured(stacked(slow, "devices", 1), ask.REASONS), hot.fill_opacity(0), heading="Faults"
    )


def nodes() -> table.Panel:
    """Every node with what its devices do."""
    none = f"0 * {EACH_NODE}"
    work = ask.in_state(f'{NODE},state="working"', "instance")
    waste = ask.in_state(f'{NODE},state=~"idle|spinning"', "instance")
    return listing(
        "Nodes",
        "Every node whose agent is scraped: how many devices it has, how many are held, work, or are held for "
        "nothing, their power, and the hottest sensor. A node leads to its own page.",
        ask.columns(
            EACH_NODE,
            f"sum by (instance) ({SHARE}) or {none}",
            f"{work} or {none}",
            f"{waste} or {none}",
            f"sum by (instance) ({ask.power(NODE)})",
            f"max by (instance) (gpuwatch_device_temperature_celsius{{{NODE}}})",
            f"sum by (instance) (rate(gpuwatch_device_throttle_seconds_total{{{NODE}}}{RATE}))",
            f"count by (instance) (gpuwatch_device_up{{{NODE}}} == 0) or {none}",
        ),
        {
            "instance": Column("Node", link=ask.to_node()),
            "Value #A": Column("Devices", width=100),
            "Value #B": Column("Held", width=100, more={"decimals": 1}),
            "Value #C": Column("Working", width=110, more={"decimals": 1, **graded(base=GREEN)}),
            "Value #D": Column("For nothing", width=120, more={"decimals": 1, **graded((0.5, ORANGE))}),
            "Value #E": Column("Power", WATT, 120),
            "Value #F": Column("Hottest", CELSIUS, 120, more=graded((80, YELLOW), (88, RED))),
            "Value #G": Column("Throttled", width=110, more={"decimals": 1, **graded((0.1, ORANGE))}),
            "Value #H": Column("Not read", width=110, more=graded((1, RED))),
        },
        EMPTY,
        by="instance",
        sort="For nothing",
    )
