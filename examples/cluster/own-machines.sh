#!/usr/bin/env bash
# Start or stop Ray on machines of your own, over SSH:
#
#   own-machines.sh start HEAD WORKER...
#   own-machines.sh stop HEAD WORKER...
#
# HEAD and WORKER are addresses that all machines can reach. This project and its virtual
# environment are in the same folder on each machine ($FOLDER, below your home).
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 start|stop HEAD [WORKER...]" >&2; exit 2; }
action=$1 head=$2
shift
folder=${FOLDER:-plasticity-study}
port=${PORT:-6379}
ray="RAY_AUTH_MODE=token $folder/.venv/bin/ray"

case $action in
  start)
    ssh "$head" "umask 077; [ -s ~/.ray/auth_token ] ||
      $ray get-auth-token --generate > /dev/null; chmod 600 ~/.ray/auth_token"
    token=$(ssh "$head" "cat ~/.ray/auth_token")
    for machine in "$@"; do
      if [ "$machine" = "$head" ]; then
        start="--head --port=$port --node-ip-address=$head"
      else
        # the token goes through standard input: arguments are visible to other users
        ssh "$machine" "umask 077; mkdir -p ~/.ray; cat > ~/.ray/auth_token" <<< "$token"
        start="--address=$head:$port"
      fi
      # shellcheck disable=SC2029  # the variables are those of this machine
      ssh "$machine" "$ray start $start"
    done
    ;;
  stop)
    for machine in "$@"; do
      # shellcheck disable=SC2029
      ssh "$machine" "$ray stop"
    done
    ;;
  *)
    echo "unknown action: $action" >&2
    exit 2
    ;;
esac
