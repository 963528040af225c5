"""`gpuwatch declare`: what a job or a campaign is expected to need; and the options that `gpuwatch run` shares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gpuwatch import declaration
from gpuwatch.cli.options import ConfigOption
from gpuwatch.errors import DeclarationError, Forbidden, Rejected, Unavailable

_AMOUNTS = "Amounts (one number, or LOW..LIKELY..HIGH)"

DeviceHours = Annotated[
    str | None, typer.Option("--device-hours", metavar="H", help="As 640.", rich_help_panel=_AMOUNTS)
]
Energy = Annotated[
    str | None,
    typer.Option("--energy", metavar="AMOUNT", help="Of the devices, as 450kWh.", rich_help_panel=_AMOUNTS),
]
FacilityEnergy = Annotated[
    str | None,
    typer.Option(
        "--facility-energy", metavar="AMOUNT", help="With host and cooling, as 600kWh.", rich_help_panel=_AMOUNTS
    ),
]
Cost = Annotated[
    str | None, typer.Option("--cost", metavar="AMOUNT", help="As 1200EUR.", rich_help_panel=_AMOUNTS)
]
Carbon = Annotated[
    str | None, typer.Option("--carbon", metavar="AMOUNT", help="As 180kg.", rich_help_panel=_AMOUNTS)
]
Wall = Annotated[
    str | None,
    typer.Option("--wall", metavar="TIME", help="From start to end, as 36h or 2d.", rich_help_panel=_AMOUNTS),
]
Charge = Annotated[
    str | None,
    typer.Option("--charge", metavar="N", help="Billing units of the batch system.", rich_help_panel=_AMOUNTS),
]
Campaign = Annotated[
    str | None, typer.Option("--campaign", metavar="NAME", help="The campaign that the job belongs to.")
]
Basis = Annotated[
    str | None,
    typer.Option("--basis", metavar="HOW", help="Where the amounts are from: flops, pilot, history or guess."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY:VALUE", help="Any number of times.")]
Socket = Annotated[
    str | None,
    typer.Option(
        "--socket",
        envvar="GPUWATCH_SOCKET",
        metavar="PATH",
        help="The agent's socket (default: $GPUWATCH_SOCKET, /run/gpuwatch/agent.sock, your `gpuwatch up`).",
    ),
]


Text = Annotated[
    list[str] | None, typer.Argument(help="Words such as device-hours=640 energy=450kWh.", show_default=False)
]
For = Annotated[
    str | None,
    typer.Option("--for", metavar="SCOPE", help="job:ID, campaign:NAME, account:NAME, array:ID; else this job."),
]
Api = Annotated[
    str | None,
    typer.Option(
        metavar="URL|SOCKET",
        help="With --for: tell accounting, not the agent (default: its socket, where no agent takes it).",
    ),
]


def declare(
    text: Text = None,
    device_hours: DeviceHours = None,
    energy: Energy = None,
    facility_energy: FacilityEnergy = None,
    cost: Cost = None,
    carbon: Carbon = None,
    wall: Wall = None,
    charge: Charge = None,
    campaign: Campaign = None,
    for_: For = None,
    basis: Basis = None,
    tag: Tags = None,
    socket: Socket = None,
    api: Api = None,
    config_file: ConfigOption = None,
) -> None:
    """Declare what a job, a campaign, an account or an array is expected to need: as text, as options, or both.

    Without --for it is for the job that this command runs in. With it, it may be said from anywhere, as on a
    login node, by who may: the owner, a coordinator, an admin.
    """
    said = text_of(
        text or [],
        device_hours=device_hours, energy=energy, facility_energy=facility_energy, cost=cost, carbon=carbon,
        wall=wall, charge=charge, campaign=campaign, for_=for_, basis=basis, tag=tag,
    )  # fmt: skip
    if not said:
        raise DeclarationError("declare: nothing declared; write for example --device-hours 640 --energy 450kWh")
    late = _say(said, socket, api, config_file)
    typer.echo(f"declared {said}" + ("; it is kept, and does not count: the job has ended" if late else ""))


def _say(said: str, socket: str | None, api: str | None, config_file: Path | None) -> bool:
    """Declare where it belongs; whether it came after the end."""
    if declaration.parse(said).scope is not None:
        return _declared_for(said, socket, api, config_file)
    if api is not None:
        raise typer.BadParameter("needs --for, or for= in the text", param_hint="--api")
    tell({"type": "declare", "text": said}, socket)
    return False


def _declared_for(said: str, socket: str | None, api: str | None, config_file: Path | None) -> bool:
    """Declare for a scope: to the agent in a job, to accounting elsewhere; whether it came after the end."""
    from gpuwatch.cli.api_client import ApiClient, usual_socket

    if api is None:
        from gpuwatch import config

        try:
            tell({"type": "declare", "text": said}, socket)
        except (Unavailable, Forbidden, Rejected) as exc:
            api = usual_socket(config.load(config_file))
            if api is None:
                there = "name the API of accounting with --api http://HOST:9839"
                raise type(exc)(f"{exc}; and no socket of accounting is on this host, {there}") from exc
        else:
            return False
    document = ApiClient(api).post("/declarations", text=said)
    return any(each["after_end"] for each in document["declarations"])


def text_of(words: list[str], **options: str | list[str] | None) -> str:
    """The declaration that words and options make together, in canonical form; '' where there are none."""
    parts = list(words)
    if any(options.values()):
        parts.append(declaration.from_options(**options))
    return declaration.format(declaration.parse(" ".join(parts))) if parts else ""


def tell(message: Mapping[str, Any], socket: str | None) -> dict[str, Any]:
    """Send a message to the agent and return its reply; a refusal is raised as what it is."""
    import gpuwatch_client

    path = socket or gpuwatch_client.socket_path()
    try:
        reply = gpuwatch_client.ask(path, message)
    except OSError as exc:
        raise Unavailable(
            f"no agent at {path} ({exc}); start gpuwatch-agent, or give its socket with --socket"
        ) from exc
    if reply.get("ok") is not True:
        refusals = {"rejected": Rejected, "forbidden": Forbidden}
        raise refusals.get(str(reply.get("outcome")), Unavailable)(str(reply.get("error")))
    return reply
