#!/bin/sh
# Gets what the integration tests drive (Prometheus, promtool, Alertmanager, amtool, InfluxDB, VictoriaMetrics,
# systemd-analyze, Slurm, PostgreSQL, rpmbuild, shellcheck, runc, Chromium) where the machine does not have it: Debian
# packages, downloaded and unpacked into .cache/debian. Nothing is installed and no service is started. Never fails:
# what cannot be had is said on one line, and its tests are skipped with the reason.
set -u

cache=$(cd "$(dirname "$0")/../.." && pwd)/.cache/debian
root=$cache/root
servers=${POSTGRESQL_SERVERS:-/usr/lib/postgresql}
step_seconds=60
unreachable=

say() {
    echo "packages: $*"
}

have() {
    command -v "$1" >/dev/null 2>&1 && return 0
    for folder in usr/bin bin usr/sbin sbin; do [ -x "$root/$folder/$1" ] && return 0; done
    # Debian keeps the programs of PostgreSQL out of the path.
    for place in "$servers"/*/bin "$root"/usr/lib/postgresql/*/bin; do [ -x "$place/$1" ] && return 0; done
    return 1
}

apt() {
    if [ "$(id -u)" = 0 ]; then set -- -o APT::Sandbox::User=root "$@"; fi
    DEBIAN_FRONTEND=noninteractive timeout "$step_seconds" apt-get -qq \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10 \
        -o DPkg::Lock::Timeout=10 "$@" >>"$cache/log" 2>&1
}

# download PACKAGE...: into the folder the shell stands in; old or missing lists are renewed once, by root only
download() {
    apt download "$@" && return 0
    [ "$(id -u)" = 0 ] || return 1
    [ -e "$cache/updated" ] && [ -n "$(find "$cache/updated" -mmin -60)" ] && return 1
    touch "$cache/updated"
    apt update
    apt download "$@"
}

# libraries_of PACKAGE...: the libraries they ask for, but for the C library, which is everywhere, and LLVM, which
# is large and only makes long queries faster
libraries_of() {
    apt-cache depends "$@" 2>/dev/null |
        sed -n 's/^ *|*\(Pre\)\{0,1\}Depends: \(lib[a-z0-9.+-]*\)$/\2/p' | grep -v -e '^libc6' -e '^libllvm' | sort -u
}

# all_libraries_of PACKAGE: the same with the libraries of those libraries
all_libraries_of() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "$1" 2>/dev/null | grep '^lib' | grep -v -e '^libc6' -e '^libllvm' | sort -u
}

# fetch PACKAGE...: downloads and unpacks all of them, or none
fetch() {
    downloads=$cache/downloads.$$
    mkdir -p "$root" "$downloads" || return 1
    (
        cd "$downloads" && download "$@" || exit 1
        for each in *.deb; do
            dpkg-deb -x "$each" "$root" >>"$cache/log" 2>&1 || exit 1
        done
    )
    result=$?
    rm -rf "$downloads"
    return $result
}

# need BINARY PACKAGE [PACKAGE whose libraries are needed too]...
need() {
    binary=$1
    shift
    have "$binary" && return 0
    if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then
        say "no $binary, and no apt to get it with; its tests will be skipped"
        return 0
    fi
    if [ -n "$unreachable" ]; then
        say "no $binary either"
        return 0
    fi
    mkdir -p "$cache" || return 0
    : >"$cache/log"
    package=$1
    shift
    [ $# -eq 0 ] || set -- "$@" $(libraries_of "$package" "$@")
    if fetch "$package" "$@" && have "$binary"; then
        say "unpacked $binary into .cache/debian/${root##*/}"
    else
        unreachable=yes
        say "no $binary; its tests will be skipped: $(grep . "$cache/log" | tail -n 1)"
    fi
}

need prometheus prometheus
need promtool prometheus
need prometheus-alertmanager prometheus-alertmanager
need amtool prometheus-alertmanager
need influxd influxdb
need victoria-metrics victoria-metrics
need systemd-analyze systemd libsystemd-shared
need systemd-nspawn systemd-container libsystemd-shared
need mmdebstrap mmdebstrap
need munged munge libmunge2
need mariadbd mariadb-server-core libmariadb3
server=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: \(postgresql-[0-9]*\)$/\1/p')
need postgres "${server:-postgresql}" "${server:-postgresql}"
need slurmd-wlm slurmd slurmctld slurmdbd slurm-client slurm-wlm-basic-plugins slurm-wlm-mysql-plugin
need rpmbuild rpm rpm-common $(all_libraries_of rpm)
need shellcheck shellcheck
need runc runc libseccomp2
# Apart, as it brings several hundred libraries that the others do not need; what Debian calls `chromium` looks for the
# program where it would be installed.
(
    root=$cache/chromium
    have chromium || need chromium chromium chromium-common $(all_libraries_of chromium)
)
exit 0
