#!/bin/sh
# Slurm's Epilog: removes what prolog.sh noted about this job on this node. docs/slurm.md
#
# It only removes below its directory, waits for nothing, and always exits with 0.

LC_ALL=C PATH=/usr/bin:/bin
export LC_ALL PATH

main() {
    directory=${GPUWATCH_MAP_DIRECTORY:-/run/gpuwatch-slurm} job=${SLURM_JOB_ID:-} node=${SLURMD_NODENAME:-}
    case $job in '' | 0* | *[!0-9]* | ???????????*) return ;; esac
    case $node in .* | *[!A-Za-z0-9._-]*) return ;; esac
    [ ! -L "$directory" ] || return
    rm -f "$directory/$job.$node" "$directory/.$job.$node."*
}

main > /dev/null 2>&1 < /dev/null
exit 0
