"""What dashboards are built of: panels that explain themselves, their order on a page, links and colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders import stat, statushistory, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard

Panel = stat.Panel | timeseries.Panel | table.Panel | statushistory.Panel
Queries = Sequence[Builder[Any]]
P = TypeVar("P", bound=Panel)

DEVICE_HOURS, WATT_HOURS, WATT, RATIO = "suffix: device-h", "watth", "watt", "percentunit"
SECONDS, BYTES, RATE, CELSIUS, HERTZ, COUNT = "s", "bytes", "Bps", "celsius", "hertz", "short"
SINCE, GRAMS = "dateTimeFromNow", "massg"

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = (
    "green",
    "yellow",
    "orange",
    "red",
    "blue",
    "purple",
    "#8e8e8e",
)
NOBODY = "#4a5a78"
# The same thing has the same colour wherever it is drawn.
STATES = {
    "working": GREEN, "idle": ORANGE, "spinning": RED, "unknown": GREY,
    "unattributed": PURPLE, "held by nobody": NOBODY,
}  # fmt: skip
HOLDERS = {"held by jobs": GREEN, "unattributed": PURPLE, "held by nobody": NOBODY}
UNKNOWN = "–"
NOTHING = "nothing measured in this time range"
WIDTH = 24


def steps(base: str, *above: tuple[float, str]) -> builder.ThresholdsConfig:
    """A colour for the lowest values and another from each limit on."""
    found = [dashboard.Threshold(None, base), *(dashboard.Threshold(limit, colour) for limit, colour in above)]
    return builder.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(found)


def said(words: Mapping[Any, tuple[str, str]]) -> list[Any]:
    """Words, with a colour or none, in place of values."""
    return [
        dashboard.ValueMap(
            options={
                str(value): dashboard.ValueMappingResult(text=text, color=colour or None, index=place)
                for place, (value, (text, colour)) in enumerate(words.items())
            }
        )
    ]


def setting(name: str, value: object) -> dashboard.DynamicConfigValue:
    """One property of an override."""
    return dashboard.DynamicConfigValue(id_val=name, value=value)


def _begun(panel: P, title: str, description: str, unit: str, empty: str) -> P:
    panel.title(title).description(description).unit(unit).no_value(empty)
    return panel


def number(
    title: str, description: str, unit: str, queries: Queries, empty: str = "not known", colour: str = BLUE
) -> stat.Panel:
    """The last known value of some series, or in words that there is none."""
    panel = _begun(stat.Panel(), title, description, unit, empty)
    panel.thresholds(steps(colour)).graph_mode(common.BigValueGraphMode.NONE)
    panel.color_mode(common.BigValueColorMode.VALUE)
    panel.reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
    return _asked(panel, queries)


def _asked(panel: P, queries: Queries) -> P:
    for query in queries:
        panel.with_target(query)
    return panel


def graph(title: str, description: str, unit: str, queries: Queries, empty: str = NOTHING) -> timeseries.Panel:
    """Lines over time."""
    legend = (
        common_builder.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    tooltip = common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    panel = _begun(timeseries.Panel(), title, description, unit, empty)
    panel.axis_soft_min(0).line_width(1.5).fill_opacity(8).show_points(common.VisibilityMode.NEVER)
    panel.legend(legend).tooltip(tooltip.sort(common.SortOrder.DESCENDING))
    return _asked(panel, queries)


def stacked(panel: timeseries.Panel, label: str = "", most: float = 0.0) -> timeseries.Panel:
    """Lines that add up, as areas."""
    stacking = common_builder.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
    panel.stacking(stacking).fill_opacity(60).line_width(0)
    if label:
        panel.axis_label(label)
    return panel.axis_soft_max(most) if most else panel


def coloured(panel: P, colours: Mapping[str, str]) -> P:
    """The colour of each series by its name."""
    for name, colour in colours.items():
        panel.override_by_name(name, [setting("color", {"mode": "fixed", "fixedColor": colour})])
    return panel


def renamed(panel: P, names: Mapping[str, str]) -> P:
    """Series under other names than those that the store gives them."""
    for name, better in names.items():
        panel.override_by_name(name, [setting("displayName", better)])
    return panel


def history(title: str, description: str, queries: Queries, empty: str = NOTHING) -> statushistory.Panel:
    """One row of boxes for each series, coloured by its value."""
    legend = (
        common_builder.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel = _begun(statushistory.Panel(), title, description, RATIO, empty).max_data_points(90)
    panel.show_value(common.VisibilityMode.NEVER).row_height(0.9).col_width(0.96).legend(legend).fill_opacity(85)
    panel.tooltip(common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
    return _asked(panel, queries)


def shades(panel: statushistory.Panel) -> statushistory.Panel:
    """From 0 to 1 in shades of blue: a colour that says neither good nor bad."""
    return panel.thresholds(steps("#2a3550", (0.05, "#2f5aa8"), (0.5, "#4b8df0"), (0.9, "#9cc4ff"))).min(0).max(1)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, unit, width, where its values lead, and other properties of its cells."""

    title: str
    unit: str = ""
    width: int = 0
    link: str = ""
    more: Mapping[str, object] = field(default_factory=dict)

    def settings(self) -> list[dashboard.DynamicConfigValue]:
        """What differs from the other columns."""
        found = {"unit": self.unit, "custom.width": self.width, "noValue": UNKNOWN, **self.more}
        if self.link:
            found["links"] = [{"title": f"Open {self.title.lower()}", "url": self.link, "targetBlank": False}]
        return [setting(name, value) for name, value in found.items() if value]


def graded(*above: tuple[float, str], base: str = GREEN) -> dict[str, object]:
    """Numbers in a colour by their size."""
    found = [{"value": None, "color": base}, *({"value": limit, "color": colour} for limit, colour in above)]
    thresholds = {"mode": "absolute", "steps": found}
    return {"custom.cellOptions": {"type": "color-text"}, "thresholds": thresholds}


def listing(
    title: str,
    description: str,
    queries: Queries,
    columns: Mapping[str, Column],
    empty: str,
    by: str = "",
    sort: str = "",
) -> table.Panel:
    """A table of the fields in `columns`: of queries joined `by` one field, or merged by all that they share."""
    panel = _begun(table.Panel(), title, description, "short", empty).show_header(True)
    joined = ("joinByField", {"byField": by, "mode": "outer"}) if by else ("merge", {})
    shown: Sequence[tuple[str, Mapping[str, Any]]] = (
        joined,
        ("filterFieldsByName", {"include": {"names": list(columns)}}),
        (
            "organize",
            {
                "excludeByName": {},
                "indexByName": {name: place for place, name in enumerate(columns)},
                "renameByName": {name: column.title for name, column in columns.items()},
            },
        ),
    )
    panel.transformations([dashboard.DataTransformerConfig(id_val=name, options=each) for name, each in shown])
    for column in columns.values():
        if found := column.settings():
            panel.override_by_name(column.title, found)
    if sort:
        panel.sort_by([common_builder.TableSortByFieldState().display_name(sort).desc(True)])
    return _asked(panel, queries)


@dataclass(frozen=True, slots=True)
class Placed:
    """Panels one above the other, `width` of 24 columns wide; they share the height of the row."""

    width: int
    panels: tuple[Panel, ...]


def at(width: int, *panels: Panel) -> Placed:
    """One panel, or several in a column."""
    return Placed(width, panels)


@dataclass(frozen=True, slots=True)
class Band:
    """What stands side by side, with a heading over it or none."""

    height: int
    places: tuple[Placed, ...]
    heading: str = ""


def band(height: int, *places: Placed, heading: str = "") -> Band:
    """A row of the page; its widths add up to 24."""
    return Band(height, places, heading)


def even(height: int, *panels: Panel, heading: str = "") -> Band:
    """A row of panels of one width."""
    return Band(height, tuple(at(WIDTH // len(panels), panel) for panel in panels), heading)


@dataclass(frozen=True, slots=True)
class Page:
    """A dashboard: who asks what of which store, and what answers."""

    uid: str
    title: str
    description: str
    store: str
    variables: Sequence[Builder[Any]]
    bands: Sequence[Band]
    annotations: Sequence[Builder[Any]] = ()
    span: str = "1h"


def store(kind: str) -> dashboard.DataSourceRef:
    """The data source that the page's variable names."""
    return dashboard.DataSourceRef(type_val=kind, uid="${datasource}")


def store_variable(kind: str) -> builder.DatasourceVariable:
    """Which data source is asked."""
    return builder.DatasourceVariable("datasource").label("Data source").type(kind)


def choice(kind: str, name: str, label: str, question: str, several: bool = False) -> builder.QueryVariable:
    """What the reader chooses among, as the store knows it; `several` may be all."""
    made = builder.QueryVariable(name).label(label).datasource(store(kind)).query(question)
    made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    if several:
        all_of_them = dashboard.VariableOption(text="All", value="$__all", selected=True)
        made.multi(True).include_all(True).current(all_of_them)
    return made


def built(page: Page) -> builder.Dashboard:
    """The page as Grafana knows dashboards."""
    tag = f"gpuwatch-{page.store}"
    others = (
        builder.DashboardLink("gpuwatch").type(dashboard.DashboardLinkType.DASHBOARDS).tags([tag])
        .as_dropdown(False).keep_time(True).include_vars(True)
    )  # fmt: skip
    made = (
        builder.Dashboard(page.title).uid(page.uid).description(page.description).tags(["gpuwatch", tag])
        .time(f"now-{page.span}", "now").refresh("30s").timezone("browser").link(others)
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR).with_variable(store_variable(page.store))
    )  # fmt: skip
    for variable in page.variables:
        made.with_variable(variable)
    for annotation in page.annotations:
        made.annotation(annotation)
    for panel in _laid_out(page):
        if isinstance(panel, builder.Row):
            made.with_row(panel)
        else:
            made.with_panel(panel.datasource(store(page.store)))
    return made


def _laid_out(page: Page) -> Iterable[Panel | builder.Row]:
    y, number_of = 0, 0
    for each in page.bands:
        if each.heading:
            number_of += 1
            yield builder.Row(each.heading).id(number_of).grid_pos(dashboard.GridPos(h=1, w=WIDTH, x=0, y=y))
            y += 1
        x = 0
        for place in each.places:
            height = each.height // len(place.panels)
            for level, panel in enumerate(place.panels):
                number_of += 1
                where = dashboard.GridPos(h=height, w=place.width, x=x, y=y + level * height)
                yield panel.id(number_of).grid_pos(where)
            x += place.width
        y += each.height
