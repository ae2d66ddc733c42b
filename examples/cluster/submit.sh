#!/usr/bin/env bash
# Run a study file of your own on a cluster that already has this project:
#
#   submit.sh FOLDER STUDY.py RESULTS
#
# FOLDER has STUDY.py and the modules that it imports. Ray copies this folder to the
# cluster. `ray dashboard cluster.yaml`, or a port forward to the head node, must be open.
set -euo pipefail

[ $# -eq 3 ] || { echo "usage: $0 FOLDER STUDY.py RESULTS" >&2; exit 2; }
export RAY_AUTH_MODE=token
export RAY_API_SERVER_ADDRESS=${RAY_API_SERVER_ADDRESS:-http://localhost:8265}
ray job submit --no-wait --working-dir "$1" -- \
  python -m study.sweep "$2" --results "$3"
