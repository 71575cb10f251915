#!/usr/bin/env bash
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
# Usage: tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# One process per GPU; on a machine without GPUs GPUS is the number of CPU processes (gloo).
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [options of tools/train.py]" >&2
    exit 2
fi
CONFIG="$1" GPUS="$2"
shift 2
TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# PYTHON, else the active environment, else the .venv of `make install`.
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "$TOOLS/../.venv/bin/python" ]; then
        PYTHON="$TOOLS/../.venv/bin/python"
    fi
fi
NNODES="${NNODES:-1}"
NODE_RANK="${NODE_RANK:-0}"
MASTER_ADDR="${MASTER_ADDR:-127.0.0.1}"
# A free port by default, so that two runs on one machine do not meet.
MASTER_PORT="${MASTER_PORT:-${PORT:-$("$PYTHON" -c \
    'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}}"
if [ -z "${OMP_NUM_THREADS:-}" ]; then
    CORES="$("$PYTHON" -c 'import os; print(os.cpu_count() or 1)')"
    export OMP_NUM_THREADS=$((CORES > GPUS ? CORES / GPUS : 1))
fi

export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" -m torch.distributed.run \
    --nnodes="$NNODES" --node_rank="$NODE_RANK" --nproc_per_node="$GPUS" \
    --master_addr="$MASTER_ADDR" --master_port="$MASTER_PORT" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
