"""What to do about what `gpuwatch check` finds: one sentence for each finding that is not ok."""

from __future__ import annotations

import re
from dataclasses import replace

from gpuwatch.cli.findings import Finding

_REMEDIES: tuple[tuple[str, str, str], ...] = (
    # What is found, what is said of it (patterns, the first pair that fits counts), what to do.
    (
        r"",
        r"^no answer within",
        "see whether it hangs; where it is only slow, give check more time with --timeout",
    ),
    (r"devices\.nvidia", r"not installed", "install the driver, or take nvidia out of agent.devices on this node"),
    (r"devices\.nvidia", r"PCI bus", "see lspci; where the node has none, take nvidia out of agent.devices"),
    (r"devices\.nvidia", r"not loaded", "load it (modprobe nvidia); the agent finds the devices then"),
    (r"devices\.nvidia", r"permission", "open /dev/nvidia* to the agent's user: mode 0666, or a group of its own"),
    (r"devices\.nvidia", r"differ in version", "reload the kernel driver, or reboot the node"),
    (r"devices\.nvidia", r"cannot be imported|pynvml", "install gpuwatch anew: its dependencies are missing"),
    (
        r"devices\.amd: .* processes",
        r"",
        "DeviceAllow=char-226 rw in its unit; what holds a card is else told by Slurm",
    ),
    (r"devices\.amd: .* energy", r"", "nothing: its power is integrated, which is coarser, and says so"),
    (r"devices\.amd: .* power", r"", "see whether the card's hwmon has power1_average or power1_input, and dmesg"),
    (r"devices\.amd", r"amdgpu loaded", "load it (modprobe amdgpu); the agent finds the cards then"),
    (r"devices\.", r"no device", "see whether the node has such devices, or take the source out of agent.devices"),
    (
        r"devices\.",
        r"cannot be imported",
        "install the package that the source needs, or take it out of agent.devices",
    ),
    (
        r"devices\.",
        r"",
        "see what the driver's own tool says (nvidia-smi, amd-smi, tpu-info); the agent tries again by itself",
    ),
    (r"required device", r"", "install the driver or repair the device, or do without --require-device"),
    (r"read device", r"", "see what the driver's own tool says of it (nvidia-smi -q -i UUID, amd-smi), and dmesg"),
    (r"read host", r"", "see whether /proc and /sys are there and may be read; all else is measured"),
    (
        r"read jobs\.kubernetes",
        r"",
        "give the agent's user the group of the kubelet's socket (drop-in pod-resources)",
    ),
    (r"read jobs\.slurm", r"", "see docs/slurm.md: the prolog, the control groups, jobs.slurm.map_directory"),
    (r"read jobs\.", r"", "see whether /proc may be read; without it nobody knows who holds a device"),
    (r"(host|jobs|sinks)\.", r"", "mend its table in the configuration, or take it out of the list in [agent]"),
    (r"ask sinks\..*clock", r"", "set the clocks of both machines by NTP"),
    (r"ask sinks\..*spool", r"", "make room, or set sinks.influxdb.spool_bytes lower"),
    (
        r"ask sinks\.",
        r"401|403|auth|denied|token",
        "give the file of the token, or of the password, what the server takes",
    ),
    (r"ask sinks\.", r"", "see that the server runs and can be reached from here; what is pushed waits meanwhile"),
    (r"socket directory", r"", "make it for the user of the agent (the unit does so), or set agent.socket"),
    (r"jobs directory", r"", "have root make it: install -d -m 755 /run/gpuwatch-jobs (docs/socket.md)"),
    (r"job tokens", r"", "write 16 random bytes or more into it, readable by the agent's user alone"),
    (
        r"usage token",
        r"",
        "write the token into it, readable by the agent's user, or unset agent.usage_token_file",
    ),
    (
        r"usage API",
        r"",
        "set agent.usage_token_file to a file with a token, and the same in usage.agents.token_file",
    ),
    (r".* TLS", r"", "put a certificate that is valid for longer in its place; it is taken within a second"),
    (r".* key", r"", "close it: chmod o= on the file"),
    (r".* web", r"users and no TLS", "set tls_server_config in the file as well (docs/web.md)"),
    (r".* web", r"", "mend the file (docs/web.md), or name another one in web_config_file"),
    (r"agent address", r"", "stop who has it (ss -ltnp), or set agent.listen"),
    (
        r"accounting address",
        r"",
        "nothing where accounting runs elsewhere or is running; else set accounting.listen",
    ),
    (
        r"(ask|set-up of)? ?schedulers\.slurm",
        r"",
        "see docs/slurm-accounting.md; try the command as accounting's user",
    ),
    (r"(ask|set-up of)? ?schedulers\.", r"", "see docs/kubernetes.md: the kubeconfig, and what its user may list"),
    (r"ask usage\.agents", r"401|403", "give usage.agents.token_file the token of the agents"),
    (r"(ask )?usage\.", r"", "see that it runs and can be reached from here (docs/usage-sources.md)"),
    (r"(ask )?notifiers\.", r"", "see that it can be reached from here, and its table in the configuration"),
    (r"alerts", r"", "mend the policy file (docs/alerts.md), or unset alerts.policy_file"),
    (r"rates", r"", "mend the file (docs/rates.md); `gpuwatch rates FILE` shows what it says"),
)


def advised(finding: Finding) -> Finding:
    """The finding with what to do about it, where it is not ok and does not say so itself."""
    if finding.status == "ok" or finding.todo:
        return finding
    return replace(finding, todo=todo_of(finding))


def todo_of(finding: Finding) -> str:
    """The first sentence that fits; empty where none does."""
    return next(
        (
            todo
            for what, detail, todo in _REMEDIES
            if re.match(what, finding.what) and re.search(detail, finding.detail, re.IGNORECASE)
        ),
        "",
    )
