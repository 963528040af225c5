# What the scripts of both packages share. A machine may have no systemd, or one that does not run (a container, a
# chroot, an image that is being made): then nothing is started, and nothing fails.
set -e

# runs UNIT
runs() {
    [ -d /run/systemd/system ] && systemctl --quiet is-active "$1"
}

# invoke ACTION UNIT: what the administrator forbids by policy-rc.d is not done
invoke() {
    [ -d /run/systemd/system ] || return 0
    if command -v deb-systemd-invoke >/dev/null 2>&1; then
        deb-systemd-invoke "$@" >/dev/null || true
    else
        systemctl --quiet "$@" || true
    fi
}

reload_units() {
    [ ! -d /run/systemd/system ] || systemctl daemon-reload || true
}

# Users and folders, on each installation and upgrade.
prepare() {
    if command -v systemd-sysusers >/dev/null 2>&1; then systemd-sysusers gpuwatch.conf || true; fi
    if command -v systemd-tmpfiles >/dev/null 2>&1; then systemd-tmpfiles --create gpuwatch.conf || true; fi
    reload_units
}

# The first time, and again after a removal: what the site's presets say is enabled, and the agent started.
begin() {
    command -v systemctl >/dev/null 2>&1 || return 0
    for unit in $units; do systemctl --quiet --no-reload preset "$unit" || true; done
    reload_units
    if systemctl --quiet is-enabled gpuwatch-agent.service 2>/dev/null; then invoke start gpuwatch-agent.service; fi
}

# After an upgrade: what runs goes on with the new files.
renew() {
    for unit in $units; do
        if runs "$unit"; then invoke restart "$unit"; fi
    done
}

# Before a removal.
end() {
    command -v systemctl >/dev/null 2>&1 || return 0
    for unit in $units; do
        if runs "$unit"; then invoke stop "$unit"; fi
        systemctl --quiet --no-reload disable "$unit" || true
    done
}
