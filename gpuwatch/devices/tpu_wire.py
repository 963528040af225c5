"""The messages of a TPU runtime's metric service, `tpu.monitoring.runtime.RuntimeMetricService`.

Described here by the numbers that its public `tpu_metric_service.proto` gives them, and only what is read; the
rest is skipped, as protobuf does. Nothing is generated: the classes are made from this table when first needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PACKAGE = "tpu.monitoring.runtime"
SERVICE = f"/{PACKAGE}.RuntimeMetricService"
LIST, GET = f"{SERVICE}/ListSupportedMetrics", f"{SERVICE}/GetRuntimeMetric"

# Field: number, type or message, repeated; `oneof` names the fields of which a message has one at most.
_Field = tuple[int, str, bool]
MESSAGES: Mapping[str, Mapping[str, _Field]] = {
    "MetricRequest": {"metric_name": (1, "string", False), "skip_node_aggregation": (2, "bool", False)},
    "MetricResponse": {"metric": (1, "TPUMetric", False)},
    "TPUMetric": {
        "name": (1, "string", False), "description": (2, "string", False), "metrics": (3, "Metric", True),
    },
    "Metric": {
        "attribute": (1, "Attribute", False), "gauge": (3, "Gauge", False), "counter": (4, "Counter", False),
        "distribution": (5, "Distribution", False),
    },
    "Attribute": {"key": (1, "string", False), "value": (2, "AttrValue", False)},
    "AttrValue": {
        "string_attr": (1, "string", False), "int_attr": (3, "int64", False),
        "kvlist_attr": (6, "KeyValueList", False),
    },
    "KeyValueList": {"attributes": (1, "Attribute", True)},
    "Gauge": {
        "as_double": (1, "double", False), "as_int": (2, "int64", False), "as_string": (3, "string", False),
        "as_bool": (4, "bool", False),
    },
    "Counter": {"as_double": (1, "double", False), "as_int": (2, "uint64", False)},
    "Distribution": {
        "count": (1, "int64", False), "mean": (2, "double", False), "bucket_options": (6, "BucketOptions", False),
        "bucket_counts": (7, "int64", True),
    },
    "BucketOptions": {"exponential_buckets": (2, "Exponential", False)},
    "Exponential": {
        "num_finite_buckets": (1, "int32", False), "growth_factor": (2, "double", False),
        "scale": (3, "double", False),
    },
    "ListSupportedMetricsRequest": {"filter": (1, "string", False)},
    "ListSupportedMetricsResponse": {"supported_metric": (1, "SupportedMetric", True)},
    "SupportedMetric": {"metric_name": (1, "string", False)},
}  # fmt: skip
ONEOFS: Mapping[str, tuple[str, ...]] = {
    "Metric": ("gauge", "counter", "distribution"),
    "AttrValue": ("string_attr", "int_attr", "kvlist_attr"),
    "Gauge": ("as_double", "as_int", "as_string", "as_bool"),
    "Counter": ("as_double", "as_int"),
    "BucketOptions": ("exponential_buckets",),
}
_MOST_METRICS = 4096
_MOST_BUCKETS = 1024


class Buckets(NamedTuple):
    """How often a value was in which bucket: below `scale`, then each `growth` times as wide as the one before."""

    scale: float
    growth: float
    counts: tuple[int, ...]


class Sample(NamedTuple):
    """One entry of an answer: the number of its device, None where it has none, and what it says."""

    device: int | None
    value: float | str | bool | Buckets | None


def classes() -> Mapping[str, Any]:
    """The messages' classes by name; `ImportError` where protobuf is not installed."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="gpuwatch_tpu.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        _describe(file.message_type.add(name=name), fields, ONEOFS.get(name, ()))
    # A pool of its own: Google's client in the same process describes the same package.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in MESSAGES}
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}


def _describe(message: Any, fields: Mapping[str, _Field], oneof: tuple[str, ...]) -> None:
    if oneof:
        message.oneof_decl.add(name="one")
    for name, (number, kind, repeated) in fields.items():
        field = message.field.add(name=name, number=number)
        field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        field.type = field.TYPE_MESSAGE if kind in MESSAGES else getattr(field, f"TYPE_{kind.upper()}")
        if kind in MESSAGES:
            field.type_name = f".{PACKAGE}.{kind}"
        if name in oneof:
            field.oneof_index = 0


def names_in(response: Any) -> frozenset[str]:
    """The metrics that a runtime lists."""
    return frozenset(each.metric_name for each in response.supported_metric[:_MOST_METRICS])


def samples_in(response: Any) -> Iterator[Sample]:
    """The entries of an answer about one metric."""
    for metric in response.metric.metrics[:_MOST_METRICS]:
        measure = metric.WhichOneof("one")
        yield Sample(_device(metric.attribute), None if measure is None else _value(getattr(metric, measure)))


def _value(measure: Any) -> float | str | bool | Buckets | None:
    if hasattr(measure, "bucket_counts"):
        options = measure.bucket_options.exponential_buckets
        return Buckets(options.scale, options.growth_factor, tuple(measure.bucket_counts[:_MOST_BUCKETS]))
    kind = measure.WhichOneof("one")
    found: float | str | bool | None = None if kind is None else getattr(measure, kind)
    return found


def _device(attribute: Any) -> int | None:
    """By the attribute itself, or by that of its attributes which says it; as a number or as its digits."""
    value = attribute.value
    if value.WhichOneof("one") == "kvlist_attr":
        named = [each for each in value.kvlist_attr.attributes if each.key == "device_ordinal"]
        value = named[0].value if named else None
    kind = None if value is None else value.WhichOneof("one")
    if kind == "int_attr":
        return int(value.int_attr)
    text = value.string_attr if kind == "string_attr" else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
