"""The one grammar of declarations, text to `Estimate` and back; docs/declaring.md is its user's page.

Words `key=value` separated by blanks. What is read here was written by anybody: every text either follows the
grammar or raises `DeclarationError`, in time linear in its length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from difflib import get_close_matches
from typing import NoReturn

from gpuwatch.errors import DeclarationError
from gpuwatch.model import Estimate, Scope

MAX_TEXT_BYTES = 64 * 1024
MAX_NAME_LENGTH = 128
MAX_AMOUNT = 1e15
"""The largest amount, in base units (1e15 J is 278 GWh)."""

SCOPE_KINDS = ("job", "campaign", "account", "array")
ESTIMATE_BASES = ("flops", "pilot", "history", "guess")
_CURRENCIES = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF"
    " CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD"
    " HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD"
    " LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK"
    " PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS"
    " TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW"
    " ZWG"
)
CURRENCIES = frozenset(_CURRENCIES.split())
"""The ISO 4217 codes that a cost may be declared in."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """How a quantity is typed: its units as multiples of `base`, the unit of a bare number, an example."""

    base: str
    units: Mapping[str, int]
    bare: str | None
    example: str


_ENERGY = {
    "Wh": 3600, "kWh": 3_600_000, "MWh": 3_600_000_000, "GWh": 3_600_000_000_000,
    "J": 1, "kJ": 1000, "MJ": 1_000_000, "GJ": 1_000_000_000,
}  # fmt: skip

QUANTITIES: Mapping[str, Quantity] = {
    "device-hours": Quantity("s", {"h": 3600}, "h", "640"),
    "energy": Quantity("J", _ENERGY, None, "450kWh"),
    "facility-energy": Quantity("J", _ENERGY, None, "600kWh"),
    "cost": Quantity("", dict.fromkeys(sorted(CURRENCIES), 1), None, "1200EUR"),
    "carbon": Quantity("g", {"g": 1, "kg": 1000, "t": 1_000_000}, None, "180kg"),
    "wall": Quantity("s", {"h": 3600, "d": 86_400, "min": 60, "s": 1}, None, "36h"),
    "charge": Quantity("1", {"": 1}, "", "5000"),
}
"""What can be declared, in the order of the canonical text. A cost's base unit is its currency."""

KEYS = (*QUANTITIES, "campaign", "for", "basis", "tag")


@dataclass(frozen=True, slots=True)
class Amount:
    """One declared quantity in base units: `unit` is s, J, g, 1 or a currency; 0 < low <= likely <= high."""

    quantity: str
    low: float
    likely: float
    high: float
    unit: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one text declares; `scope` None is the job that says it. Amounts and tags are in canonical order."""

    scope: Scope | None = None
    amounts: tuple[Amount, ...] = ()
    campaign: str | None = None
    basis: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


_SHOWN = 60
_WORD_LENGTH = 4 * MAX_NAME_LENGTH
# Digits beyond this say nothing, and products stay exact within the context's precision.
_NUMBER_LENGTH = 40
_NUMBER = re.compile(r"([A-Za-z]*)(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?)([A-Za-z]*)")
_NAME_SIGNS = frozenset("._-/:@+")
_COMMENT = re.compile(r"(?:^|(?<=[\s;,|]))gpuwatch:")
_DECIMAL = Context(prec=80, Emin=-99_999, Emax=99_999, traps=[])


def parse(text: str) -> Declaration:
    """Read a declaration; `DeclarationError` shows the first word that is wrong and what is allowed there."""
    if len(text) > MAX_TEXT_BYTES or len(text.encode(errors="surrogatepass")) > MAX_TEXT_BYTES:
        raise DeclarationError(f"declaration: longer than {MAX_TEXT_BYTES} bytes; shorten it")
    amounts: dict[str, Amount] = {}
    words: dict[str, str] = {}
    tags: dict[str, str] = {}
    for key, value in map(_split_word, text.split()):
        if key == "tag":
            _add_tag(tags, value)
            continue
        if key in words:
            _refuse(key, f"given twice, {words[key]!r} and {_shown(value)}", "a key may stand once")
        words[key] = value[:_SHOWN]
        if key in QUANTITIES:
            amounts[key] = _amount(key, value)
        else:
            words[key] = _READERS[key](value)
    return _checked(_assemble(amounts, words, tags))


def scope(text: str) -> Scope:
    """The scope that is written `KIND:NAME`; `DeclarationError` for what is none."""
    kind, _, name = _scope_text(text).partition(":")
    return Scope(kind, name)


def format(declaration: Declaration) -> str:
    """The canonical text: `parse(format(d)) == d`, amounts in the units that make it shortest."""
    amounts = sorted(declaration.amounts, key=lambda amount: list(QUANTITIES).index(amount.quantity))
    words = [f"{amount.quantity}={_amount_text(amount)}" for amount in amounts]
    if declaration.campaign is not None:
        words.append(f"campaign={declaration.campaign}")
    if declaration.scope is not None:
        words.append(f"for={declaration.scope}")
    if declaration.basis is not None:
        words.append(f"basis={declaration.basis}")
    words.extend(f"tag={key}:{value}" for key, value in sorted(declaration.tags))
    return " ".join(words)


def estimates(
    declaration: Declaration, job_id: str | None, declared_by: str, declared_at: float, channel: str
) -> tuple[Estimate, ...]:
    """The declaration's amounts as estimates for its scope, or else for the job `job_id` that said it."""
    if not declaration.amounts:
        return ()
    scope = declaration.scope
    if scope is None:
        if job_id is None:
            _refuse("for", "nothing says what this is for", f"declare inside a job, or add {_scope_form()}")
        scope = Scope("job", job_id)
    return tuple(
        Estimate(
            scope, each.quantity, each.low, each.likely, each.high, each.unit,
            declaration.basis, declared_by, declared_at, channel,
        )
        for each in declaration.amounts
    )  # fmt: skip


def from_comment(text: str) -> Declaration | None:
    """The declaration in a batch job's comment, from `gpuwatch:` to a `;` or the line's end; None without it."""
    found = [match.end() for match in _COMMENT.finditer(text)]
    if not found:
        return None
    if len(found) > 1:
        _refuse("comment", "'gpuwatch:' stands in it more than once", "put all words after one")
    return parse(re.split(r"[;\r\n]", text[found[0] :], maxsplit=1)[0])


def from_options(**options: object) -> str:
    """The text for options as the command line has them (`device_hours="640"`, `for_="job:7"`, `tag=["a:b"]`).

    None and empty sequences are left out. The text is checked, so that what it says is what was meant.
    """
    words = []
    for option, given in options.items():
        key = option.rstrip("_").replace("_", "-")
        key = "tag" if key == "tags" else key
        for value in _option_values(given):
            if not value or value.split() != [value]:
                _refuse(key, f"{_shown(value)} is empty or has blanks", "one value without blanks")
            words.append(f"{key}={value}")
    text = " ".join(words)
    parse(text)
    return text


def _option_values(given: object) -> Sequence[str]:
    if given is None:
        return ()
    if isinstance(given, Iterable) and not isinstance(given, str):
        return [str(each) for each in given]
    return (str(given),)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _refuse(where: str, wrong: str, there_is: str) -> NoReturn:
    raise DeclarationError(f"{where}: {wrong}; {there_is}")


def _meant(name: str, names: Iterable[str]) -> str:
    """`, did you mean 'x'` where a name is near (case aside), else nothing."""
    by_folded = {each.casefold(): each for each in reversed(list(names))}
    near = get_close_matches(name[:_SHOWN].casefold().replace("_", "-"), by_folded, n=1)
    return f", did you mean {by_folded[near[0]]!r}" if near else ""


def _split_word(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        hint = "words are key=value, separated by blanks, as in 'device-hours=640 energy=450kWh'"
        _refuse("declaration", f"{_shown(word)} has no '='", hint)
    if key not in KEYS:
        _refuse("declaration", f"unknown key {_shown(key)}{_meant(key, KEYS)}", f"there is: {', '.join(KEYS)}")
    if not value:
        _refuse(key, "no value", f"write {_example(key)}")
    if len(value) > _WORD_LENGTH:
        _refuse(key, f"{_shown(value)} is {len(value)} characters long", f"at most {MAX_NAME_LENGTH}")
    return key, value


def _example(key: str) -> str:
    if key in QUANTITIES:
        return f"{key}={QUANTITIES[key].example}"
    others = {
        "campaign": "campaign=llama-ft",
        "for": _scope_form(),
        "basis": "basis=" + "|".join(ESTIMATE_BASES),
        "tag": "tag=KEY:VALUE",
    }
    return others[key]


def _scope_form() -> str:
    return "for=job:ID|campaign:NAME|account:NAME|array:ID"


def _name(key: str, text: str) -> str:
    name = unicodedata.normalize("NFC", text)
    if len(name) > MAX_NAME_LENGTH:
        _refuse(key, f"{_shown(name)} is {len(name)} characters long", f"at most {MAX_NAME_LENGTH}")
    allowed = f"letters, digits and {' '.join(sorted(_NAME_SIGNS))}"
    if not name or not name[0].isalnum():
        _refuse(key, f"name {_shown(name)} does not begin with a letter or digit", f"names have {allowed}")
    for sign in name:
        if sign not in _NAME_SIGNS and unicodedata.category(sign)[0] not in "LMN":
            _refuse(key, f"{sign!r} in name {_shown(name)}", f"names have {allowed}")
    return name


def _campaign(value: str) -> str:
    return _name("campaign", value)


def _scope_text(value: str) -> str:
    kind, colon, name = value.partition(":")
    if kind not in SCOPE_KINDS or not colon:
        _refuse("for", f"{_shown(value)} is no scope{_meant(kind, SCOPE_KINDS)}", f"write {_scope_form()}")
    return f"{kind}:{_name('for', name)}"


def _basis(value: str) -> str:
    if value not in ESTIMATE_BASES:
        wrong = f"unknown basis {_shown(value)}{_meant(value, ESTIMATE_BASES)}"
        _refuse("basis", wrong, f"there is: {', '.join(ESTIMATE_BASES)}")
    return value


_READERS = {"campaign": _campaign, "for": _scope_text, "basis": _basis}


def _add_tag(tags: dict[str, str], word: str) -> None:
    key, colon, value = word.partition(":")
    if not colon:
        _refuse("tag", f"{_shown(word)} has no ':'", "write tag=KEY:VALUE")
    name = _name("tag", key)
    if name in tags:
        _refuse("tag", f"key {name!r} given twice", "each tag key may stand once")
    tags[name] = _name("tag", value)


def _amount(key: str, value: str) -> Amount:
    parts = value.split("..")
    if len(parts) not in (1, 3):
        _refuse(key, f"{_shown(value)} has {len(parts)} numbers", "write one, or LOW..LIKELY..HIGH")
    numbers = [_number(key, part) for part in parts]
    units = _common_units(key, value, [unit for _, unit in numbers])
    base = QUANTITIES[key].base or units[0]
    amounts = [_base_amount(key, number, unit, base) for (number, _), unit in zip(numbers, units, strict=True)]
    low, likely, high = amounts if len(amounts) == 3 else amounts * 3
    if not low <= likely <= high:
        _refuse(
            key, f"{_shown(value)} is out of order", "a range is LOW..LIKELY..HIGH, each at least the one before"
        )
    return Amount(key, low, likely, high, base)


def _number(key: str, part: str) -> tuple[Decimal, str]:
    """The number and its unit ('' where it has none); a currency may also stand before the number."""
    match = _NUMBER.fullmatch(part)
    prefix, digits, suffix = match.groups() if match else ("", "", "")
    if not digits or (prefix and (suffix or key != "cost")):
        _refuse(key, f"{_shown(part)} is not a number with a unit", f"write {_example(key)}, numbers with a point")
    if len(digits) > _NUMBER_LENGTH:
        _refuse(key, f"{_shown(digits)} has {len(digits)} characters", f"numbers have at most {_NUMBER_LENGTH}")
    unit = prefix or suffix
    units = QUANTITIES[key].units
    if unit and unit not in units:
        _refuse(key, f"unknown unit {_shown(unit)}{_meant(unit, units)}", f"{_units_of(key)}")
    return Decimal(digits), unit


def _units_of(key: str) -> str:
    if key == "cost":
        return "there is: ISO 4217 currency codes"
    return f"there is: {', '.join(filter(None, QUANTITIES[key].units)) or 'the bare number'}"


def _common_units(key: str, value: str, given: Sequence[str]) -> Sequence[str]:
    """The unit of each number: its own, or the one at the end (a currency: or at the start) for all."""
    known = [unit for unit in given if unit]
    if not known:
        bare = QUANTITIES[key].bare
        if bare is None:
            _refuse(key, f"{_shown(value)} has no unit", f"{_units_of(key)}, as in {_example(key)}")
        known = [bare] * len(given)
    elif len(known) == 1 and (given[-1] or (key == "cost" and given[0])):
        known *= len(given)
    if len(known) != len(given):
        _refuse(key, f"{_shown(value)} has a unit on some numbers", "one at the end, or one on each")
    if key == "cost" and len(set(known)) > 1:
        _refuse(key, f"{_shown(value)} mixes currencies", "a cost has one")
    return known


def _base_amount(key: str, number: Decimal, unit: str, base: str) -> float:
    amount = float(_DECIMAL.multiply(number, Decimal(QUANTITIES[key].units[unit])))
    if not amount > 0:
        _refuse(key, f"{number}{unit} is not more than 0", f"write {_example(key)}")
    if amount > MAX_AMOUNT:
        _refuse(key, f"{number}{unit} is too large", f"at most {MAX_AMOUNT:g} {base if base != '1' else 'units'}")
    return amount


def _assemble(amounts: Mapping[str, Amount], words: Mapping[str, str], tags: Mapping[str, str]) -> Declaration:
    kind, _, name = words.get("for", "").partition(":")
    return Declaration(
        Scope(kind, name) if kind else None,
        tuple(amounts[quantity] for quantity in QUANTITIES if quantity in amounts),
        words.get("campaign"),
        words.get("basis"),
        tuple(sorted(tags.items())),
    )


def _checked(declaration: Declaration) -> Declaration:
    """Refuse what follows the grammar and yet says nothing, or two things."""
    if not (declaration.amounts or declaration.campaign or declaration.tags):
        _refuse("declaration", "nothing declared", "write for example 'device-hours=640 energy=450kWh'")
    if declaration.basis and not declaration.amounts:
        _refuse("basis", "says how an amount was estimated, and there is none", "add one, as in device-hours=640")
    scope = declaration.scope
    if declaration.campaign and scope and scope.kind in ("campaign", "account"):
        wrong = f"makes a job or an array a member, and this is for {scope}"
        _refuse("campaign", wrong, "write one of the two, campaign=NAME or for=campaign:NAME")
    return declaration


def _amount_text(amount: Amount) -> str:
    """The range in the unit that makes it shortest; hours before joules where that costs little."""
    quantity = QUANTITIES[amount.quantity]
    units = (amount.unit,) if amount.quantity == "cost" else tuple(quantity.units)
    bounds = [amount.likely] if amount.low == amount.high else [amount.low, amount.likely, amount.high]
    texts = ("..".join(_decimal_text(each, quantity.units[unit]) for each in bounds) + unit for unit in units)
    return min(texts, key=lambda text: len(text) + 6 * text.endswith("J"))


def _decimal_text(amount: float, factor: int) -> str:
    """The shortest decimal that is read back, times `factor`, as exactly `amount`."""
    exact = _DECIMAL.divide(Decimal(amount), Decimal(factor))
    for digits in range(1, 30):
        short = Context(prec=digits, Emin=-99_999, Emax=99_999, traps=[]).plus(exact)
        if float(_DECIMAL.multiply(short, Decimal(factor))) == amount:
            return _plain(short)
    raise DeclarationError(f"declaration: {amount!r} cannot be written; amounts are finite")


def _plain(number: Decimal) -> str:
    normal = number.normalize(_DECIMAL)
    text = f"{normal:f}"
    return text if len(text) <= 20 else f"{normal:e}"
