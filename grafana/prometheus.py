"""What is asked of a Prometheus, and the expressions that several dashboards share.

Series of devices carry their uuid and the instance they were scraped from alone; what they are is in
`gpuwatch_device_info`, which is joined. `$node` is an instance of an agent, `$accounting` one of accounting.
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.blocks import BLUE, GREY, ORANGE, PURPLE, RED, YELLOW, Queries, choice, store

KIND = "prometheus"
RATE = "[$__rate_interval]"
NODE = 'instance=~"$node"'
ACCOUNTING = 'instance=~"$accounting"'
SCOPE = "scope_kind, scope"
DOWN = 'count(up{job="gpuwatch-agent"} == 0) or 0 * count(up{job="gpuwatch-agent"})'
"""Agents that cannot be scraped, of all clusters: what is down for long is no longer among the nodes to choose."""
REFS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
INFO = f"max by (instance, uuid, index, model) (gpuwatch_device_info{{{NODE}}})"
WHOLE = f'gpuwatch_device_info{{{NODE},kind!="mig"}}'


def lines(*asked: tuple[str, str]) -> Queries:
    """Legends and expressions, over the dashboard's time range."""
    return [
        Dataquery().expr(expression).legend_format(legend).range().ref_id(ref).datasource(store(KIND))
        for ref, (legend, expression) in zip(REFS, asked, strict=False)
    ]


def now(*asked: tuple[str, str]) -> Queries:
    """Legends and expressions, as they are at the end of the dashboard's time range."""
    return [
        Dataquery().expr(expression).legend_format(legend).instant().ref_id(ref).datasource(store(KIND))
        for ref, (legend, expression) in zip(REFS, asked, strict=False)
    ]


def columns(*expressions: str) -> Queries:
    """Expressions whose labels, and value at the end of the time range, become columns of a table."""
    return [
        Dataquery().expr(expression).instant().format(PromQueryFormat.TABLE).ref_id(ref).datasource(store(KIND))
        for ref, expression in zip(REFS, expressions, strict=False)
    ]


def power(where: str = "", scope: str = "device") -> str:
    """Watts of each device, or of its module; of the sensor that averages where there is one."""
    and_where = f",{where}" if where else ""
    average, instant = (
        f'max by (instance, uuid) (gpuwatch_device_power_watts{{scope="{scope}",window="{window}"{and_where}}})'
        for window in ("average", "instant")
    )
    return f"({average} or {instant})"


def named(expression: str, info: str = INFO) -> str:
    """Series by instance and uuid with the index and the model of their device."""
    return f"({expression}) * on (instance, uuid) group_left (index, model) {info}"


def by_device(metric: str, where: str = NODE) -> str:
    """The greatest value of a metric for each device."""
    return f"max by (instance, uuid) ({metric}{{{where}}})"


def in_state(where: str, by: str = "") -> str:
    """How many devices are in the state that `where` names, of all or `by` a label."""
    return f"sum{f' by ({by})' if by else ''} (rate(gpuwatch_job_state_seconds_total{{{where}}}{RATE}))"


def nobodys(part: str, where: str = NODE) -> str:
    """How many devices nobody holds (`unallocated`), or nobody is known to hold (`unattributed`)."""
    return f"sum(rate(gpuwatch_device_{part}_seconds_total{{{where}}}{RATE}))"


def states(where: str) -> Queries:
    """What became of the time of devices, in devices: working at the bottom."""
    found = [(state, in_state(f'{where},state="{state}"')) for state in STATE_CODES]
    nobody = ("held by nobody", nobodys("unallocated", where))
    return lines(*found, ("unattributed", f"{nobodys('unattributed', where)} > 0"), nobody)


STATE_CODES = {"working": 1, "idle": 2, "spinning": 3, "unknown": 4}


def state_of_each(where: str) -> str:
    """For each device the code of the state in which it was most of the time; 0 where it was in several."""
    each = (
        f"{code} * (sum by (instance, uuid, state) "
        f'(rate(gpuwatch_job_state_seconds_total{{{where},state="{state}"}}'
        f"{RATE})) > bool 0.5)"
        for state, code in STATE_CODES.items()
    )
    return f"sum by (instance, uuid) ({' or '.join(each)})"


REASONS = {
    "sw_power_cap": BLUE, "sw_thermal": ORANGE, "hw_thermal": RED, "hw_power_brake": PURPLE, "sync_boost": YELLOW,
    "other": GREY,
}  # fmt: skip


def throttled(where: str) -> str:
    """How many devices have their clocks held down now, by reason, where any has."""
    return f"sum by (reason) (rate(gpuwatch_device_throttle_seconds_total{{{where}}}{RATE})) > 0"


def cluster_variables() -> list[builder.QueryVariable]:
    """Clusters, and their nodes: all of them to begin with."""
    return [
        choice(KIND, "cluster", "Cluster", "label_values(gpuwatch_agent_info, cluster)", several=True),
        choice(
            KIND, "node", "Node", 'label_values(gpuwatch_agent_info{cluster=~"$cluster"}, instance)', several=True
        ),
    ]


def accounting_variable() -> builder.QueryVariable:
    """The accounting of one cluster, or of all."""
    return choice(
        KIND, "accounting", "Accounting", "label_values(gpuwatch_accounting_leading, instance)", several=True
    )


class Annotation(Builder[Any]):
    """Times at which an expression has a value, drawn over every graph of the page."""

    def __init__(self, name: str, expression: str, title: str, text: str, colour: str) -> None:
        self._made = {
            "name": name, "enable": True, "hide": False, "iconColor": colour, "datasource": store(KIND),
            "expr": expression, "titleFormat": title, "textFormat": text, "step": "30s", "useValueForTime": False,
        }  # fmt: skip

    def build(self) -> dict[str, Any]:
        """As Grafana's annotations of Prometheus are written."""
        return self._made


def to_node(value: str = "${__value.raw}") -> str:
    """The address of a node's page, from a cell that names its instance."""
    return f"/d/gpuwatch-node/gpuwatch-node?var-node={value}&var-datasource=${{datasource}}&${{__url_time_range}}"


def to_job(value: str = "${__value.raw}") -> str:
    """The address of a job's page, from a cell that names the job."""
    return f"/d/gpuwatch-job/gpuwatch-job?var-job_id={value}&var-datasource=${{datasource}}&${{__url_time_range}}"
