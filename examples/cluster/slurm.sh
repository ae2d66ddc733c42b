#!/usr/bin/env bash
# A study on a SLURM cluster: sbatch slurm.sh
#
# The nodes share this checkout, its virtual environment and the results. If the time is
# over before the study ends, run sbatch again: it resumes the study.
#SBATCH --job-name=plasticity-study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --exclusive
#SBATCH --time=08:00:00
set -euo pipefail

study=${STUDY:-paper}
results=${RESULTS:-$HOME/plasticity-results}
. "${VENV:-.venv}/bin/activate"

# without a token, each user of the SLURM cluster could run programs as you
export RAY_AUTH_MODE=token
umask 077
[ -s ~/.ray/auth_token ] || ray get-auth-token --generate > /dev/null

# each node has its own name for the head; an address is the same everywhere
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ip=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}')
address=$ip:${PORT:-6379}

# `ray symmetric-run` starts Ray on all nodes, runs the command on the first, and stops Ray
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
  ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
  -- python -m study.sweep "$study" --results "$results" --address "$address"
