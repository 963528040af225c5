#!/bin/sh
# Slurm's Prolog: notes for the gpuwatch agent which devices this job was given on this node, and makes the directory
# in which the job may say how far it is, where there is one for such directories. docs/slurm.md
#
# It only writes below these two, needs no running agent, waits for no daemon, and always exits with 0.
# What is not a plain list of names or numbers, or longer than 4096 characters, is noted as "?" (not known).

LC_ALL=C PATH=/usr/bin:/bin
export LC_ALL PATH
umask 022

note() {
    value=$2
    case $value in
        '') return 0 ;;
        *[!A-Za-z0-9,._:/-]*) value='?' ;;
    esac
    [ "${#value}" -le 4096 ] || value='?'
    printf '%s=%s\n' "$1" "$value"
}

main() {
    directory=${GPUWATCH_MAP_DIRECTORY:-/run/gpuwatch-slurm} job=${SLURM_JOB_ID:-} node=${SLURMD_NODENAME:-}
    case $job in '' | 0* | *[!0-9]* | ???????????*) return ;; esac
    case $node in .* | *[!A-Za-z0-9._-]*) return ;; esac
    [ "${#node}" -le 200 ] && mkdir -p "$directory" && [ ! -L "$directory" ] || return
    file=$directory/$job.$node new=$directory/.$job.$node.$$
    rm -f "$new"
    { note SLURM_JOB_ID "$job" && note SLURMD_NODENAME "$node" && note SLURM_JOB_UID "${SLURM_JOB_UID:-}" &&
        note SLURM_JOB_SLUID "${SLURM_JOB_SLUID:-}" && note SLURM_JOB_GPUS "${SLURM_JOB_GPUS:-}" &&
        note CUDA_VISIBLE_DEVICES "${CUDA_VISIBLE_DEVICES:-}" && note SLURM_GPUS_ON_NODE "${SLURM_GPUS_ON_NODE:-}" &&
        note SLURM_SHARDS_ON_NODE "${SLURM_SHARDS_ON_NODE:-}" &&
        note CUDA_MPS_ACTIVE_THREAD_PERCENTAGE "${CUDA_MPS_ACTIVE_THREAD_PERCENTAGE:-}" &&
        note STARTED "$(date +%s)"; } > "$new" && mv -f "$new" "$file" || rm -f "$new"
}

# Nobody but root may write the directory above: so what is in it was made here, and is the job's word. One that no
# epilog removed may be another user's, from a job that had this number before. A number with + is looked up nowhere.
make_directory() {
    above=${GPUWATCH_JOBS_DIRECTORY:-/run/gpuwatch-jobs} job=${SLURM_JOB_ID:-} user=${SLURM_JOB_UID:-}
    case $job in '' | 0* | *[!0-9]* | ???????????*) return ;; esac
    case $user in '' | *[!0-9]*) return ;; esac
    [ -d "$above" ] && [ ! -L "$above" ] || return
    if [ -e "$above/$job" ] && [ "$(stat -c %u "$above/$job")" != "$user" ]; then
        timeout -s KILL 5 rm -rf --one-file-system "$above/$job"
    fi
    mkdir -m 750 "$above/$job" || return
    timeout -s KILL 5 chown "+$user:${GPUWATCH_GROUP:-gpuwatch}" "$above/$job" || chown "+$user" "$above/$job"
}

{ main; make_directory; } > /dev/null 2>&1 < /dev/null
exit 0
