#!/bin/bash
# A Slurm array: each task is a shard of films.csv, all write to one folder. Submit it again to go on.
#
#     sbatch examples/slurm.sh films.csv /shared/results
#     tubelet run --out /shared/results --status
#     tubelet run --out /shared/results --merge
#
# Slurm sends SIGTERM before the time is up: what is finished is kept (exit code 143).
#SBATCH --array=0-99
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
set -eu
exec tubelet run "$1" --out "$2" --jobs "${SLURM_CPUS_PER_TASK:-8}" --device cpu
