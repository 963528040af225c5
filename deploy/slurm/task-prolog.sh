#!/bin/sh
# Slurm's TaskProlog: hands GPUWATCH_ESTIMATE of the job's environment over to the gpuwatch agent. docs/slurm.md
#
# It runs as the user in each task; the first of a step on its node does it, and the agent takes it once. It also
# tells the job where its directory is. It takes a second at most, says nothing else, and always exits with 0.

PATH=/usr/bin:/bin
export PATH

hand_over() {
    [ -n "${GPUWATCH_ESTIMATE:-}" ] && [ "${SLURM_LOCALID:-0}" = 0 ] && [ -S "$socket" ] || return
    if command -v python3; then
        timeout -s KILL 1 python3 -I -S -c "$program" "$socket"
        return
    fi
    # Without a program that can quote: only what needs no quoting.
    case $GPUWATCH_ESTIMATE in *[!A-Za-z0-9\ =.:,+_/@-]*) return ;; esac
    message="{\"type\":\"declare\",\"channel\":\"environment\",\"text\":\"$GPUWATCH_ESTIMATE\"}"
    if command -v socat; then
        printf '%s\n' "$message" | timeout -s KILL 1 socat -t 1 - "UNIX-CONNECT:$socket"
    elif command -v nc; then
        printf '%s\n' "$message" | timeout -s KILL 1 nc -U -N "$socket"
    fi
}

program='
import json, os, socket, sys
message = {"type": "declare", "channel": "environment", "text": os.environ["GPUWATCH_ESTIMATE"]}
agent = socket.socket(socket.AF_UNIX)
agent.connect(sys.argv[1])
agent.sendall(json.dumps(message).encode() + b"\n")
agent.recv(4096)
'
socket=${GPUWATCH_SOCKET:-/run/gpuwatch/agent.sock}
hand_over > /dev/null 2>&1 < /dev/null

directory=${GPUWATCH_JOBS_DIRECTORY:-/run/gpuwatch-jobs}/${SLURM_JOB_ID:-}
case ${SLURM_JOB_ID:-} in '' | *[!0-9]*) exit 0 ;; esac
[ ! -w "$directory" ] || printf 'export GPUWATCH_JOB_DIRECTORY=%s\n' "$directory" 2> /dev/null
exit 0
