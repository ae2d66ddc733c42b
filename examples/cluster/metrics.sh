#!/usr/bin/env bash
# Show the metrics of studies: start Prometheus and Grafana for the Ray cluster whose head
# node is this machine. Ctrl-C ends both.
#
#   metrics.sh
#
# Ray has written the configurations. They always list the current nodes of the cluster,
# and contain Ray's own dashboards. This script adds the dashboard of this project.
set -euo pipefail

metrics=/tmp/ray/session_latest/metrics
data=${DATA:-$HOME/plasticity-metrics}
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$data"
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
prometheus --config.file="$metrics/prometheus/prometheus.yml" \
  --storage.tsdb.path="$data/prometheus" --web.listen-address=127.0.0.1:9090 &
if command -v grafana > /dev/null; then
  cp "$here/../../docs/grafana.json" "$metrics/grafana/dashboards/plasticity.json"
  GF_SERVER_HTTP_ADDR=127.0.0.1 GF_PATHS_DATA=$data/grafana grafana server \
    --homepath "${GRAFANA_HOME:-/usr/share/grafana}" \
    --config "$metrics/grafana/grafana.ini" &
else
  echo "Grafana is not installed, so there are no charts; Prometheus runs without it" >&2
fi
wait
