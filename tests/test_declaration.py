"""Declarations: what is accepted means what it says, what is refused is explained, nothing else can happen."""

from __future__ import annotations

import re
import time
import unicodedata
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpuwatch import declaration
from gpuwatch.declaration import Amount, Declaration, from_comment, from_options, parse
from gpuwatch.errors import DeclarationError
from gpuwatch.model import Estimate, Scope

KWH = 3.6e6


def amount(quantity: str, low: float, likely: float, high: float, unit: str) -> Declaration:
    """A declaration of one amount."""
    return Declaration(amounts=(Amount(quantity, low, likely, high, unit),))


ACCEPTED = {
    "device-hours=640": amount("device-hours", 2_304_000, 2_304_000, 2_304_000, "s"),
    "device-hours=0.1h": amount("device-hours", 360, 360, 360, "s"),
    "device-hours=1e-3": amount("device-hours", 3.6, 3.6, 3.6, "s"),
    "device-hours=600..640..900": amount("device-hours", 2_160_000, 2_304_000, 3_240_000, "s"),
    "energy=450kWh": amount("energy", 450 * KWH, 450 * KWH, 450 * KWH, "J"),
    "energy=100..120..150kWh": amount("energy", 100 * KWH, 120 * KWH, 150 * KWH, "J"),
    "energy=900Wh..1kWh..0.002MWh": amount("energy", 0.9 * KWH, KWH, 2 * KWH, "J"),
    "energy=1e9J": amount("energy", 1e9, 1e9, 1e9, "J"),
    "energy=1GWh": amount("energy", 3.6e12, 3.6e12, 3.6e12, "J"),
    "energy=5MJ": amount("energy", 5e6, 5e6, 5e6, "J"),
    "facility-energy=2kJ": amount("facility-energy", 2000, 2000, 2000, "J"),
    "facility-energy=1.5GJ": amount("facility-energy", 1.5e9, 1.5e9, 1.5e9, "J"),
    "cost=120EUR": amount("cost", 120, 120, 120, "EUR"),
    "cost=EUR120": amount("cost", 120, 120, 120, "EUR"),
    "cost=100..120..150.5USD": amount("cost", 100, 120, 150.5, "USD"),
    "cost=CHF100..120..150": amount("cost", 100, 120, 150, "CHF"),
    "cost=1E3EUR": amount("cost", 1000, 1000, 1000, "EUR"),
    "carbon=180kg": amount("carbon", 180_000, 180_000, 180_000, "g"),
    "carbon=1.5t": amount("carbon", 1_500_000, 1_500_000, 1_500_000, "g"),
    "carbon=900g": amount("carbon", 900, 900, 900, "g"),
    "wall=36h": amount("wall", 129_600, 129_600, 129_600, "s"),
    "wall=1.5d": amount("wall", 129_600, 129_600, 129_600, "s"),
    "wall=90min": amount("wall", 5400, 5400, 5400, "s"),
    "wall=45s": amount("wall", 45, 45, 45, "s"),
    "charge=5000": amount("charge", 5000, 5000, 5000, "1"),
    "charge=1..2..3": amount("charge", 1, 2, 3, "1"),
    "campaign=llama-ft": Declaration(campaign="llama-ft"),
    "campaign=größe/2.0_β:7@site+x": Declaration(campaign="größe/2.0_β:7@site+x"),
    "tag=model:llama-7b tag=data:c4:en": Declaration(tags=(("data", "c4:en"), ("model", "llama-7b"))),
    "  charge=1\t\n campaign=x ": Declaration(amounts=(Amount("charge", 1, 1, 1, "1"),), campaign="x"),
    "for=job:1234_5 charge=1": Declaration(Scope("job", "1234_5"), (Amount("charge", 1, 1, 1, "1"),)),
    "for=campaign:x charge=1": Declaration(Scope("campaign", "x"), (Amount("charge", 1, 1, 1, "1"),)),
    "for=account:phys-7 charge=1": Declaration(Scope("account", "phys-7"), (Amount("charge", 1, 1, 1, "1"),)),
    "for=array:99 campaign=x": Declaration(Scope("array", "99"), campaign="x"),
    "charge=1 basis=pilot": Declaration(amounts=(Amount("charge", 1, 1, 1, "1"),), basis="pilot"),
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_text_means_its_amounts_in_base_units(text: str) -> None:
    """Units are converted exactly, in the places the grammar allows them."""
    assert ACCEPTED[text] == parse(text)


KEYS = "device-hours, energy, facility-energy, cost, carbon, wall, charge, campaign, for, basis, tag"
ENERGY = "there is: Wh, kWh, MWh, GWh, J, kJ, MJ, GJ"
SCOPES = "write for=job:ID|campaign:NAME|account:NAME|array:ID"
NAMES = "names have letters, digits and + - . / : @ _"
LONG = "a" * 129

REFUSED = {
    "": "declaration: nothing declared; write for example 'device-hours=640 energy=450kWh'",
    "for=campaign:x": "declaration: nothing declared; write for example 'device-hours=640 energy=450kWh'",
    "640": "declaration: '640' has no '='; words are key=value, separated by blanks, as in"
    " 'device-hours=640 energy=450kWh'",
    "device_hours=640": "declaration: unknown key 'device_hours', did you mean 'device-hours'; there is: " + KEYS,
    "Energy=1kWh": "declaration: unknown key 'Energy', did you mean 'energy'; there is: " + KEYS,
    "x=1": "declaration: unknown key 'x'; there is: " + KEYS,
    "energy=": "energy: no value; write energy=450kWh",
    "energy=450": "energy: '450' has no unit; " + ENERGY + ", as in energy=450kWh",
    "energy=450 kWh": "energy: '450' has no unit; " + ENERGY + ", as in energy=450kWh",
    "energy=450kwh": "energy: unknown unit 'kwh', did you mean 'kWh'; " + ENERGY,
    "energy=450mWh": "energy: unknown unit 'mWh', did you mean 'MWh'; " + ENERGY,
    "energy=4,5kWh": "energy: '4,5kWh' is not a number with a unit; write energy=450kWh, numbers with a point",
    "energy=kWh450": "energy: 'kWh450' is not a number with a unit; write energy=450kWh, numbers with a point",
    "energy=nankWh": "energy: 'nankWh' is not a number with a unit; write energy=450kWh, numbers with a point",
    "wall=inf": "wall: 'inf' is not a number with a unit; write wall=36h, numbers with a point",
    "wall=１h": "wall: '１h' is not a number with a unit; write wall=36h, numbers with a point",
    "wall=1_000h": "wall: '1_000h' is not a number with a unit; write wall=36h, numbers with a point",
    "wall=1:30:00": "wall: '1:30:00' is not a number with a unit; write wall=36h, numbers with a point",
    "wall=.5h": "wall: '.5h' is not a number with a unit; write wall=36h, numbers with a point",
    "wall=1m": "wall: unknown unit 'm'; there is: h, d, min, s",
    "wall=-1h": "wall: -1h is not more than 0; write wall=36h",
    "wall=0d": "wall: 0d is not more than 0; write wall=36h",
    "wall=1e-400s": "wall: 1E-400s is not more than 0; write wall=36h",
    "energy=1e16J": "energy: 1E+16J is too large; at most 1e+15 J",
    "charge=1e999": "charge: 1E+999 is too large; at most 1e+15 units",
    "charge=1e9999": "charge: '1e9999' is not a number with a unit; write charge=5000, numbers with a point",
    "charge=" + "1" * 41: f"charge: '{'1' * 41}' has 41 characters; numbers have at most 40",
    "charge=5h": "charge: unknown unit 'h'; there is: the bare number",
    "device-hours=5d": "device-hours: unknown unit 'd'; there is: h",
    "carbon=5lb": "carbon: unknown unit 'lb'; there is: g, kg, t",
    "cost=5": "cost: '5' has no unit; there is: ISO 4217 currency codes, as in cost=1200EUR",
    "cost=5eur": "cost: unknown unit 'eur', did you mean 'EUR'; there is: ISO 4217 currency codes",
    "cost=€5": "cost: '€5' is not a number with a unit; write cost=1200EUR, numbers with a point",
    "cost=EUR5USD": "cost: 'EUR5USD' is not a number with a unit; write cost=1200EUR, numbers with a point",
    "cost=EUR1..USD2..EUR3": "cost: 'EUR1..USD2..EUR3' mixes currencies; a cost has one",
    "energy=1..2kWh": "energy: '1..2kWh' has 2 numbers; write one, or LOW..LIKELY..HIGH",
    "energy=1..2..3..4kWh": "energy: '1..2..3..4kWh' has 4 numbers; write one, or LOW..LIKELY..HIGH",
    "energy=1..2..kWh": "energy: 'kWh' is not a number with a unit; write energy=450kWh, numbers with a point",
    "energy=3..2..4kWh": "energy: '3..2..4kWh' is out of order; a range is LOW..LIKELY..HIGH, each at least the"
    " one before",
    "energy=1kWh..2..3": "energy: '1kWh..2..3' has a unit on some numbers; one at the end, or one on each",
    "energy=1kWh..2..3kWh": "energy: '1kWh..2..3kWh' has a unit on some numbers; one at the end, or one on each",
    "wall=1h wall=1h": "wall: given twice, '1h' and '1h'; a key may stand once",
    "campaign=a campaign=b": "campaign: given twice, 'a' and 'b'; a key may stand once",
    "campaign=a;b": "campaign: ';' in name 'a;b'; " + NAMES,
    "campaign=a\x00b": "campaign: '\\x00' in name 'a\\x00b'; " + NAMES,
    "campaign=a\u202eb": "campaign: '\\u202e' in name 'a\\u202eb'; " + NAMES,
    "campaign=a\ud800": "campaign: '\\ud800' in name 'a\\ud800'; " + NAMES,
    "campaign=../etc": "campaign: name '../etc' does not begin with a letter or digit; " + NAMES,
    f"campaign={LONG}": f"campaign: '{LONG[:60]}…' is 129 characters long; at most 128",
    f"campaign={LONG * 5}": f"campaign: '{LONG[:60]}…' is 645 characters long; at most 128",
    "for=user:alice wall=1h": "for: 'user:alice' is no scope; " + SCOPES,
    "for=jobs:1 wall=1h": "for: 'jobs:1' is no scope, did you mean 'job'; " + SCOPES,
    "for=job wall=1h": "for: 'job' is no scope, did you mean 'job'; " + SCOPES,
    "for=job: wall=1h": "for: name '' does not begin with a letter or digit; " + NAMES,
    "campaign=x for=campaign:y wall=1h": "campaign: makes a job or an array a member, and this is for campaign:y;"
    " write one of the two, campaign=NAME or for=campaign:NAME",
    "basis=flop wall=1h": "basis: unknown basis 'flop', did you mean 'flops'; there is: flops, pilot,"
    " history, guess",
    "basis=guess campaign=x": "basis: says how an amount was estimated, and there is none; add one, as in"
    " device-hours=640",
    "tag=a": "tag: 'a' has no ':'; write tag=KEY:VALUE",
    "tag=a:": "tag: name '' does not begin with a letter or digit; " + NAMES,
    "tag=a:1 tag=a:2": "tag: key 'a' given twice; each tag key may stand once",
    "a" * 65_537: "declaration: longer than 65536 bytes; shorten it",
    "ä" * 32_769: "declaration: longer than 65536 bytes; shorten it",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:40]))
def test_refused_text_is_told_why_and_what_is_allowed(text: str) -> None:
    """One line, the word that is wrong, what there is."""
    with pytest.raises(DeclarationError) as refused:
        parse(text)

    assert REFUSED[text] == str(refused.value)


def names() -> st.SearchStrategy[str]:
    """Any name that the grammar allows."""
    first = st.characters(categories=["L", "Nd"])
    rest = st.text(st.one_of(st.characters(categories=["L", "M", "N"]), st.sampled_from("._-/:@+")), max_size=40)
    joined = st.builds(lambda head, tail: unicodedata.normalize("NFC", head + tail), first, rest)
    return joined.filter(lambda name: name[0].isalnum() and len(name) <= 128)


@st.composite
def amounts(draw: st.DrawFn, quantity: str) -> Amount:
    """Any amount of a quantity, over the whole range of floats that is allowed."""
    number = st.floats(min_value=0, max_value=declaration.MAX_AMOUNT, exclude_min=True)
    low, likely, high = sorted(draw(st.tuples(number, number, number)))
    base = declaration.QUANTITIES[quantity].base
    return Amount(quantity, low, likely, high, base or draw(st.sampled_from(sorted(declaration.CURRENCIES))))


@st.composite
def declarations(draw: st.DrawFn) -> Declaration:
    """Any declaration in canonical order that says something."""
    chosen = draw(st.sets(st.sampled_from(list(declaration.QUANTITIES))))
    ordered = tuple(draw(amounts(quantity)) for quantity in declaration.QUANTITIES if quantity in chosen)
    scope = draw(st.none() | st.builds(Scope, st.sampled_from(declaration.SCOPE_KINDS), names()))
    member = scope is None or scope.kind in ("job", "array")
    key = names().filter(lambda name: ":" not in name)
    tags = tuple(sorted(draw(st.dictionaries(key, names(), max_size=4)).items()))
    campaign = draw(st.none() | names()) if member and (ordered or tags) else None
    campaign = draw(names()) if member and not (ordered or tags) else campaign
    basis = draw(st.none() | st.sampled_from(declaration.ESTIMATE_BASES)) if ordered else None
    if not (ordered or campaign or tags):
        ordered = (draw(amounts("charge")),)
    return Declaration(scope, ordered, campaign, basis, tags)


@settings(max_examples=60)
@given(declarations())
def test_canonical_text_is_read_back_as_the_same(given_declaration: Declaration) -> None:
    """Every float survives: text is never a rounding of what was declared."""
    assert given_declaration == parse(declaration.format(given_declaration))


@pytest.mark.parametrize("text", ACCEPTED)
def test_canonical_text_is_a_fixed_point(text: str) -> None:
    """Writing what was read and reading it again changes nothing more."""
    canonical = declaration.format(parse(text))

    assert parse(text) == parse(canonical)
    assert canonical == declaration.format(parse(canonical))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (
            "campaign=x energy=100..120..150kWh device-hours=640",
            "device-hours=640h energy=100..120..150kWh campaign=x",
        ),
        ("energy=1J", "energy=1J"),
        ("energy=3.6e9J", "energy=1MWh"),
        ("cost=EUR1e2", "cost=100EUR"),
        ("cost=0.1EUR", "cost=0.1EUR"),
        ("wall=36h", "wall=36h"),
        ("wall=180s", "wall=3min"),
        ("wall=14d", "wall=14d"),
        ("carbon=1500kg", "carbon=1.5t"),
        ("tag=b:2 tag=a:1 for=array:7 basis=guess charge=3", "charge=3 for=array:7 basis=guess tag=a:1 tag=b:2"),
    ],
)
def test_canonical_text_is_what_a_person_would_write(text: str, canonical: str) -> None:
    """Shortest unit, contract order, no exponents where none are needed."""
    assert canonical == declaration.format(parse(text))


@given(st.text() | st.text(alphabet="dehvicou-rsngy=.0123456789kWJEURfat: \n", max_size=200))
@example("energy=" + "." * 50)
@example("cost=" + "1e5" * 20)
@example("tag=:" * 3)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever was written, the answer is a valid declaration or a `DeclarationError` of one line."""
    try:
        read = parse(text)
    except DeclarationError as refused:
        assert "\n" not in str(refused)
        assert len(str(refused)) < 500
    else:
        assert all(0 < each.low <= each.likely <= each.high <= 1e15 for each in read.amounts)
        assert read == parse(declaration.format(read))


@given(st.text())
def test_any_comment_is_read_ignored_or_refused(text: str) -> None:
    """A batch job's comment is anybody's text."""
    try:
        read = from_comment(text)
    except DeclarationError:
        read = None
    assert read is None or isinstance(read, Declaration)


@given(st.text() | st.text(alphabet="jobcampignurty:0١²_-. \n\0\ud800", max_size=300))
def test_any_scope_is_read_or_refused(text: str) -> None:
    """As it stands in an address, or after `gpuwatch declarations`."""
    try:
        scope = declaration.scope(text)
    except DeclarationError as refused:
        assert len(str(refused)) < 500
    else:
        assert scope == declaration.scope(str(scope))
        assert scope == parse(f"wall=1h for={scope}").scope


@pytest.mark.parametrize("key", declaration.QUANTITIES)
@pytest.mark.parametrize("value", ["0", "-1", "NaN", "nan", "inf", "1e308", "-0", "١٢", "½", "²", "1_000"])
def test_what_is_no_amount_is_refused_for_every_quantity(key: str, value: str) -> None:
    """With the key at the head of the message, whatever unit comes with it."""
    unit = {"device-hours": "h", "cost": "EUR", "carbon": "kg", "wall": "h", "charge": ""}.get(key, "kWh")

    for text in (f"{key}={value}{unit}", f"{key}=1..{value}..3{unit}"):
        with pytest.raises(DeclarationError, match=f"^{key}: "):
            parse(text)


@pytest.mark.parametrize("size", [declaration.MAX_TEXT_BYTES, declaration.MAX_TEXT_BYTES + 1])
def test_a_comment_of_64_kb_is_read_and_a_longer_one_refused(size: int) -> None:
    """What stands before the prefix is not counted; a comment is never cut."""
    words = "wall=1h"
    assert parse(words) == from_comment("x" * size + " gpuwatch: " + words)

    padded = words + " " * (size - len(words))
    if size <= declaration.MAX_TEXT_BYTES:
        assert parse(words) == from_comment("gpuwatch:" + padded)
    else:
        with pytest.raises(DeclarationError, match="longer than 65536 bytes"):
            from_comment("gpuwatch:" + padded)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a ",
        "=",
        "tag=a:b ",
        "tag={}:b ",
        "1",
        "energy=1..",
        "campaign=\u0323\u0307",
        "\u0301\u0323",
        "gpuwatch: ",
        "::",
    ],
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    """64 kB of the worst is refused or read in a blink."""
    count = 60_000 // len(piece.encode())
    text = "".join(piece.format(number) for number in range(count))[:60_000]

    started = time.process_time()
    for read in (parse, from_comment):
        try:
            read("campaign=" + text)
            read(text)
        except DeclarationError:
            pass
    assert time.process_time() - started < 0.5


@given(st.decimals(min_value="0.001", max_value="100000", places=3))
def test_hours_are_exact(hours: Decimal) -> None:
    """Decimal hours become the nearest float of exactly that many seconds: 0.1 h is 360 s."""
    read = parse(f"device-hours={hours}")

    assert float(hours * 3600) == read.amounts[0].likely


def test_two_spellings_of_one_name_are_one_campaign() -> None:
    """Composed and decomposed letters are normalised to NFC."""
    assert parse("campaign=gro\u0308sse") == parse("campaign=grösse")


def test_estimates_are_of_the_job_that_says_it() -> None:
    """Without `for` the amounts are the job's own."""
    read = parse("energy=1..2..3kWh basis=pilot campaign=x")

    made = declaration.estimates(read, "42", "uid:1000", 1.5e9, "socket")

    expected = Estimate(
        Scope("job", "42"), "energy", KWH, 2 * KWH, 3 * KWH, "J", "pilot", "uid:1000", 1.5e9, "socket"
    )
    assert (expected,) == made


def test_estimates_are_of_the_scope_that_is_named() -> None:
    """`for=` wins over the job it was said in; each quantity is an estimate of its own."""
    read = parse("for=campaign:x wall=1h charge=5")

    made = declaration.estimates(read, "42", "uid:1000", 0.0, "cli")

    assert [(Scope("campaign", "x"), "wall"), (Scope("campaign", "x"), "charge")] == [
        (each.scope, each.quantity) for each in made
    ]


def test_estimate_for_nothing_is_refused() -> None:
    """Outside a job and without `for` nobody knows what is meant."""
    with pytest.raises(DeclarationError) as refused:
        declaration.estimates(parse("wall=1h"), None, "uid:0", 0.0, "cli")

    assert "for: nothing says what this is for; declare inside a job, or add " in str(refused.value)
    assert not declaration.estimates(parse("campaign=x"), None, "uid:0", 0.0, "cli")


@pytest.mark.parametrize(
    ("comment", "text"),
    [
        ("gpuwatch: device-hours=640", "device-hours=640"),
        ("gpuwatch:device-hours=640", "device-hours=640"),
        ("nightly run; gpuwatch: device-hours=640 campaign=x; ask Bo", "device-hours=640 campaign=x"),
        ("by Ann gpuwatch: wall=1h\nsecond line", "wall=1h"),
        ("a|b,gpuwatch: wall=1h", "wall=1h"),
    ],
)
def test_comment_is_read_from_the_prefix_to_a_semicolon(comment: str, text: str) -> None:
    """Other people's text before the prefix and after a `;` or a line end is left alone."""
    assert parse(text) == from_comment(comment)


@pytest.mark.parametrize(
    "comment", ["", "device-hours=640", "see mygpuwatch: x", "http://x/gpuwatch:1", "gpuwatch"]
)
def test_comment_without_the_prefix_declares_nothing(comment: str) -> None:
    """What is not meant for gpuwatch is no mistake."""
    assert from_comment(comment) is None


@pytest.mark.parametrize("comment", ["gpuwatch:", "gpuwatch: 640h", "gpuwatch: wall=1h; gpuwatch: wall=2h"])
def test_comment_with_the_prefix_must_follow_the_grammar(comment: str) -> None:
    """A mistake behind the prefix is told, not ignored."""
    with pytest.raises(DeclarationError):
        from_comment(comment)


def test_options_become_the_text_they_mean() -> None:
    """Underscores are hyphens, None is left out, tags repeat, what was typed stays as typed."""
    text = from_options(
        device_hours="640", energy="100..120..150kWh", wall=None, campaign="x", for_="array:7", basis="guess",
        charge=5, tag=["a:1", "b:2"],
    )  # fmt: skip

    expected = (
        "device-hours=640 energy=100..120..150kWh campaign=x for=array:7 basis=guess charge=5 tag=a:1 tag=b:2"
    )
    assert expected == text


@pytest.mark.parametrize(
    "options",
    [{"campaign": "x wall=1h"}, {"campaign": ""}, {"campaign": "x\n"}, {"bogus": "1"}, {"energy": "5"}, {}],
)
def test_options_cannot_smuggle_words(options: dict[str, str]) -> None:
    """A value is one value; whatever else it holds is refused, not read as more words."""
    with pytest.raises(DeclarationError):
        from_options(**options)


PAGE = Path(__file__).parent.parent / "docs" / "declaring.md"


def test_examples_of_the_page_are_accepted() -> None:
    """What a reader copies works."""
    page = PAGE.read_text(encoding="utf-8")
    texts = re.findall(r"(?ms)^```text\n(.*?)^```", page)[0].splitlines()

    assert len(texts) == 5
    assert all(parse(text).amounts for text in texts)


def test_page_has_every_word_unit_kind_and_basis() -> None:
    """What can be written is documented."""
    page = PAGE.read_text(encoding="utf-8")
    words = [f"`{quantity}`" for quantity in declaration.QUANTITIES]
    words += [
        f"`{unit}`"
        for name, each in declaration.QUANTITIES.items()
        for unit in each.units
        if name != "cost" and unit
    ]
    words += [f"`basis={basis}`" for basis in declaration.ESTIMATE_BASES]
    words += [f"`for={kind}:" for kind in declaration.SCOPE_KINDS]

    assert [word for word in [*words, "`campaign=NAME`", "`tag=KEY:VALUE`"] if word not in page] == []
