"""What jobs may say: every line is a message or a refusal that teaches."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.agent.messages import Declare, EndRun, Message, Ping, ReportProgress, StartRun, decode, parse
from gpuwatch.errors import Rejected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"type":"ping"}', Ping()),
        ('{"type":"declare","text":"device-hours=640"}', Declare("device-hours=640")),
        ('{"type":"progress","step":1200,"total":9000}', ReportProgress(1200.0, 9000.0)),
        ('{"type":"progress","step":0.5}', ReportProgress(0.5, None)),
        ('{"type":"progress","step":3,"total":null}', ReportProgress(3.0, None)),
        ('{"type":"progress","step":0,"total":1}', ReportProgress(0.0, 1.0)),
        ('{"type":"run","name":"llama-ft"}', StartRun("llama-ft")),
        ('{"type":"run"}', StartRun("")),
        ('{"type":"run_end","exit_code":137}', EndRun(137)),
        ('{"type":"run_end"}', EndRun(None)),
        ('  {"type":"ping"}\r', Ping()),
    ],
)
def test_line_is_a_message(line: str, message: Message) -> None:
    """Every type, with and without what may be left out."""
    assert message == parse(decode(line.encode()))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"\x00\xff\xfe", "not JSON"),
        (b'{"type":"progress","step":NaN}', "NaN is not a number"),
        (b'{"type":"progress","step":Infinity}', "Infinity is not a number"),
        (b'{"type":"progress","step":' + b"9" * 5000 + b"}", "not JSON"),
        (b"[" * 50_000, "nested too deeply"),
        (b"[]", "a JSON list"),
        (b"null", "a JSON NoneType"),
        (b"{}", "unknown None; there is: ping, declare, progress, run, run_end"),
        (b'{"type":"reboot"}', "unknown 'reboot'"),
        (b'{"type":["ping"]}', "unknown a JSON list"),
        (b'{"type":"ping","uid":0}', "unknown field 'uid'; there is: none"),
        (b'{"type":"progress","step":1,"totl":2}', "did you mean 'total'"),
        (b'{"type":"progress","step":1,"job_id":"7"}', "unknown field 'job_id'; there is: step, total"),
        (b'{"type":"progress"}', "step: None is no number"),
        (b'{"type":"progress","step":true}', "step: True is no number"),
        (b'{"type":"progress","step":"5"}', "step: '5' is no number"),
        (b'{"type":"progress","step":-1}', "step: -1 is no number"),
        (b'{"type":"progress","step":1e999}', "step: inf is no number"),
        (b'{"type":"progress","step":' + b"9" * 400 + b"}", "is no number of steps"),
        (b'{"type":"progress","step":0,"total":0}', "total: 0 is nothing to do"),
        (b'{"type":"progress","step":1,"total":-9}', "total: -9 is no number of steps"),
        (b'{"type":"declare","text":"energy=1J","channel":"api"}', "unknown 'api'; there is: socket, environment"),
        (b'{"type":"declare","text":"energy=1J","channel":["file"]}', "unknown a JSON list"),
        (b'{"type":"declare"}', "text: None is not a string"),
        (b'{"type":"declare","text":{"energy":1}}', "text: a JSON dict is not a string"),
        (b'{"type":"declare","text":"' + b"x" * 20_000 + b'"}', "text: 20000 characters; at most"),
        (b'{"type":"declare","text":"\\ud800"}', "half of a surrogate pair"),
        (b'{"type":"run","name":5}', "name: 5 is not a string"),
        (b'{"type":"run","name":"\\udfff"}', "half of a surrogate pair"),
        (b'{"type":"run_end","exit_code":256}', "exit_code: 256 is none; 0 to 255"),
        (b'{"type":"run_end","exit_code":true}', "exit_code: True is none"),
        (b'{"type":"run_end","exit_code":0.0}', "exit_code: 0.0 is none"),
    ],
)
def test_anything_else_is_refused_with_what_there_is(line: bytes, told: str) -> None:
    """Malformed, unknown, out of range, hostile."""
    with pytest.raises(Rejected) as refused:
        parse(decode(line))
    assert told in str(refused.value)
    assert len(str(refused.value)) < 400


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_reader(line: bytes) -> None:
    """A message, or `Rejected`."""
    try:
        parse(decode(line))
    except Rejected:
        return
    raise AssertionError("random bytes were taken for a message")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["text", "step", "total", "name", "exit_code", "uid"])


@given(st.sampled_from(["ping", "declare", "progress", "run", "run_end"]), st.dictionaries(_FIELDS, _JSON))
def test_no_value_crashes_the_reader(kind: str, given_fields: dict[str, object]) -> None:
    """Whatever type a field has, what comes out has the types that the classes say."""
    line = json.dumps({"type": kind, **given_fields}).encode()

    try:
        message = parse(decode(line))
    except Rejected:
        return
    if isinstance(message, ReportProgress):
        assert 0 <= message.step <= (message.total if message.total is not None else float("inf"))
    if isinstance(message, Declare):
        assert message.text.encode()
