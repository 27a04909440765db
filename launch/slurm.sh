#!/usr/bin/env bash
#SBATCH --job-name=context-rcnn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --requeue
#SBATCH --open-mode=append
# Trains on the GPUs of several nodes of a Slurm cluster, one process a node.
#
#   sbatch --nodes=4 --gpus-per-node=8 launch/slurm.sh CONFIG_FILE MODEL_DIR [FLAGS OF context-rcnn train]
#
# Flags of sbatch override the lines above. MODEL_DIR and the TFRecords lie on storage that all nodes
# share. When a node fails, Slurm starts the job again, and it resumes from the last checkpoint; the
# same command resumes a run that has hit its time limit. PYTHON names another interpreter.
set -euo pipefail
if [ $# -lt 2 ]; then
  sed -n '9,15p' "$0"
  exit 2
fi
config=$1 model_dir=$2
shift 2
exec srun --kill-on-bad-exit=1 "${PYTHON:-python}" -m context_rcnn.model_main_tf2 \
  --num_workers="$SLURM_JOB_NUM_NODES" --config_file="$config" --model_dir="$model_dir" "$@"
