"""The web-config file: what is honoured, what is refused, and that every mistake is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuwatch.errors import ConfigurationError
from gpuwatch.web import web_config
from gpuwatch.web.tls import TlsSettings
from gpuwatch.web.web_config import RateLimit, WebConfig, duration, path_of, read, validated
from gpuwatch.web.yaml_text import MAX_BYTES, parse
from tests.web.authority import ALICE, config

ROOT = Path(__file__).parents[2]


def mistakes_of(folder: Path, text: str) -> list[str]:
    """What is wrong with a file, with its path called FILE."""
    path = config(folder, text)
    with pytest.raises(ConfigurationError) as refused:
        read(path)
    return [mistake.replace(str(path), "FILE") for mistake in refused.value.mistakes]


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "tls_server_config:\nbasic_auth_users:\n"])
def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path, text: str) -> None:
    """As in the toolkit: HTTP for everybody."""
    assert WebConfig() == read(config(tmp_path, text))


def test_everything_that_can_be_honoured_is_read(tmp_path: Path) -> None:
    """Paths are relative to the file; names are Go's."""
    found = read(
        config(
            tmp_path,
            f"""
tls_server_config:
  cert_file: cert.pem
  key_file: /etc/key.pem
  client_ca_file: sub/ca.pem
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [prometheus.example.org, "::0001"]
  min_version: TLS12
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  curve_preferences: [X25519]
  prefer_server_cipher_suites: false
http_server_config:
  http2: false
  headers: {{X-Frame-Options: deny, Strict-Transport-Security: max-age=60}}
basic_auth_users: {{alice: {ALICE}}}
rate_limit: {{interval: 1m30s, burst: 5}}
""",
        )
    )

    tls = TlsSettings(
        tmp_path / "cert.pem",
        Path("/etc/key.pem"),
        tmp_path / "sub" / "ca.pem",
        "RequireAndVerifyClientCert",
        frozenset({"prometheus.example.org", "::1"}),
        "TLS12",
        "TLS12",
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        "X25519",
        prefer_server_cipher_suites=False,
    )
    headers = {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=60"}
    assert WebConfig(tls, headers, {"alice": ALICE.encode()}, RateLimit(90.0, 5)) == found


def test_every_mistake_is_told_at_once_and_no_secret_with_it(tmp_path: Path) -> None:
    """Place, what is wrong, what there is."""
    found = mistakes_of(
        tmp_path,
        """
tls_sever_config: {}
tls_server_config:
  key_file: key.pem
  cert: "-----BEGIN"
  client_ca_file: ca.pem
  client_allowed_sans: [x]
  min_version: TLS13
  max_version: TLS12
  curve_preferences: [X25519, CurveP256]
  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]
  prefer_server_cipher_suites: 1
http_server_config:
  http2: true
  headers: {Server: x, X-Frame-Options: allow, X-XSS-Protection: "a\\nb"}
basic_auth_users: {alice: hunter2, "a:b": x, bob: $2b$20$hIPYyKyjlm3vhRf2BTUDzOpvrtVLTLRpfgRAnc2RCR51nPmFTVGuq}
rate_limit: {interval: fast, burst: -1}
""",
    )

    tables = "tls_server_config, http_server_config, basic_auth_users, rate_limit"
    tls = "FILE: tls_server_config"
    assert f"FILE: tls_sever_config: unknown key, did you mean 'tls_server_config'; there is: {tables}" in found
    assert f"{tls}.cert: certificates and keys are read from files; there is: cert_file" in found
    assert f"{tls}.cert_file: missing; TLS needs a certificate and its key" in found
    assert (
        f"{tls}.client_auth_type: missing, and there is a client_ca_file; RequireAndVerifyClientCert uses it"
        in found
    )
    assert f"{tls}.client_allowed_sans: needs the client_auth_type RequireAndVerifyClientCert" in found
    assert f"{tls}.min_version: TLS13 is above the max_version TLS12" in found
    assert any(mistake.startswith(f"{tls}.curve_preferences: Python's ssl takes one curve") for mistake in found)
    assert any(mistake.startswith(f"{tls}.cipher_suites: 'TLS_RSA_WITH_RC4_128_SHA' is no") for mistake in found)
    assert f"{tls}.prefer_server_cipher_suites: 1 is not possible; it must be true or false" in found
    http = "FILE: http_server_config"
    assert f"{http}.http2: true cannot be honoured, HTTP/1.1 is served; there is: false" in found
    assert any(mistake.startswith(f"{http}.headers.Server: unknown key; there is: Strict") for mistake in found)
    assert f"{http}.headers.X-Frame-Options: 'allow' is not possible; there is: deny, sameorigin" in found
    assert f"{http}.headers.X-XSS-Protection: 'a\\nb' is not possible; it must be printable ASCII" in found
    users = "FILE: basic_auth_users"
    assert f"{users}.alice: its value (not shown) is no bcrypt hash; htpasswd -nBC 10 NAME makes one" in found
    assert f"{users}.a:b: is no name of a user; it must be a string without a colon" in found
    assert f"{users}.bob: its hash has the cost 20; there is: 4 to 16" in found
    assert any(mistake.startswith("FILE: rate_limit.interval: 'fast' is no duration") for mistake in found)
    assert "FILE: rate_limit.burst: -1 is not possible; it must be a whole number above 0" in found
    assert len(found) == 18
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize("policy", ["RequestClientCert", "RequireAnyClientCert", "RequireClientCert"])
def test_a_policy_that_verifies_nothing_is_refused(tmp_path: Path, policy: str) -> None:
    """Python's ssl cannot take a certificate without verifying it, and nobody should."""
    text = f"tls_server_config: {{cert_file: c, key_file: k, client_auth_type: {policy}}}"

    (found,) = mistakes_of(tmp_path, text)

    assert found == (
        f"FILE: tls_server_config.client_auth_type: {policy!r} takes certificates without verifying them; "
        "there is: NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
    )


@pytest.mark.parametrize("policy", ["VerifyClientCertIfGiven", "RequireAndVerifyClientCert"])
def test_a_policy_without_an_authority_is_refused(tmp_path: Path, policy: str) -> None:
    """There would be nobody to verify by."""
    text = f"tls_server_config: {{cert_file: c, key_file: k, client_auth_type: {policy}}}"

    assert [f"FILE: tls_server_config.client_ca_file: missing; {policy} verifies clients by it"] == mistakes_of(
        tmp_path, text
    )


def test_suites_of_tls_13_alone_leave_tls_12_without_any(tmp_path: Path) -> None:
    """It would be offered and never agreed upon."""
    text = "tls_server_config: {cert_file: c, key_file: k, cipher_suites: [TLS_AES_128_GCM_SHA256]}"

    assert [
        "FILE: tls_server_config.cipher_suites: has none for TLS 1.2; with min_version: TLS13 none is needed"
    ] == mistakes_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x [1]\nb: *x", "is not YAML; aliases are not taken (line 2, column 4)"),
        ("a: 1\na: 2", "is not YAML; the key 'a' is there twice (line 2, column 1)"),
        ("tls_server_config: [", "is not YAML; expected the node content, but found '<stream end>'"),
        ("!!python/object/apply:os.system [true]", "is not YAML; could not determine a constructor for the tag"),
        ("[" * 5000, "is nested too deeply"),
        ("#" * (MAX_BYTES + 1), f"is longer than {MAX_BYTES} bytes"),
        ("- a", "is no table; there is: tls_server_config, http_server_config, basic_auth_users, rate_limit"),
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    """Also what is made to hurt the reader."""
    (found,) = mistakes_of(tmp_path, text)

    assert found.startswith(f"FILE: {why}")
    assert "\n" not in found


def test_a_syntax_error_does_not_show_what_is_around_it() -> None:
    """It may be a password."""
    with pytest.raises(ValueError, match="is not YAML") as raised:
        parse(b"basic_auth_users: {alice: hunter2")

    assert "hunter2" not in str(raised.value)


def test_bytes_that_are_no_text_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Both are mistakes of the configuration, not tracebacks."""
    binary = tmp_path / "binary.yml"
    binary.write_bytes(b"a: \xff")

    for path, why in ((binary, "byte 3 is not UTF-8"), (tmp_path / "none.yml", "cannot be read; No such file")):
        with pytest.raises(ConfigurationError, match=f"{path}: {why}"):
            read(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from([*web_config._TABLES, *web_config._TLS, "http2", "headers", "interval", "burst"])
                | st.text()
                | st.integers(),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_yaml_says_is_read_or_refused(document: object) -> None:
    """Never another exception."""
    try:
        found = validated(document, Path("/etc/web-config.yml"))
    except ConfigurationError as exc:
        assert all(mistake.startswith("/etc/web-config.yml: ") for mistake in exc.mistakes)
    else:
        assert isinstance(found, WebConfig)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1s", 1.0),
        ("500ms", 0.5),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("10µs", 1e-5),
        ("1", None),
        ("s", None),
        ("1s ", None),
        ("-1s", None),
        ("", None),
    ],
)
def test_durations_are_those_of_go(text: str, seconds: float | None) -> None:
    """A number needs a unit."""
    assert seconds == (pytest.approx(found) if (found := duration(text)) is not None else None)


def test_a_path_that_is_set_is_read_and_the_default_only_where_it_is() -> None:
    """A missing default is no mistake; /dev/null means none."""
    assert Path("/dev/null") == path_of(Path("/dev/null"))
    assert WebConfig() == read(Path("/dev/null"))
    if not web_config.DEFAULT_PATH.exists():
        assert path_of(None) is None


def test_the_sample_loads_and_changes_nothing_until_it_is_edited() -> None:
    """Everything in it is commented out; with every comment sign taken away it is valid, too."""
    sample = ROOT / "deploy" / "web-config.yml"
    text = sample.read_text(encoding="utf-8")

    assert WebConfig() == read(sample)
    uncommented = "\n".join(
        line[1:] if line[:2].strip("# ") or line[:3] == "#  " else "" for line in text.split("\n")
    )
    everything = validated(parse(uncommented.encode()), sample)
    assert everything.tls is not None
    assert everything.tls.client_auth_type == "RequireAndVerifyClientCert"
    assert set(everything.users) == {"prometheus", "accounting"}
    assert everything.rate_limit == RateLimit(0.1, 50)
    assert len(everything.headers) == 5
