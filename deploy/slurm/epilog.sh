#!/bin/sh
# Slurm's Epilog: removes what prolog.sh noted about this job on this node, and the job's directory. docs/slurm.md
#
# It only removes below these two directories, waits for nothing, and always exits with 0.

LC_ALL=C PATH=/usr/bin:/bin
export LC_ALL PATH

main() {
    directory=${GPUWATCH_MAP_DIRECTORY:-/run/gpuwatch-slurm} job=${SLURM_JOB_ID:-} node=${SLURMD_NODENAME:-}
    case $job in '' | 0* | *[!0-9]* | ???????????*) return ;; esac
    case $node in .* | *[!A-Za-z0-9._-]*) return ;; esac
    [ ! -L "$directory" ] || return
    rm -f "$directory/$job.$node" "$directory/.$job.$node."*
}

# What is in it is the user's: no longer than 5 seconds, and not into what he mounted there.
remove_directory() {
    above=${GPUWATCH_JOBS_DIRECTORY:-/run/gpuwatch-jobs} job=${SLURM_JOB_ID:-}
    case $job in '' | 0* | *[!0-9]* | ???????????*) return ;; esac
    [ -d "$above/$job" ] && [ ! -L "$above" ] || return
    timeout -s KILL 5 rm -rf --one-file-system "$above/$job"
}

{ main; remove_directory; } > /dev/null 2>&1 < /dev/null
exit 0
