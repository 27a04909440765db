#!/usr/bin/env bash
# Trains on a Cloud TPU VM: creates it, installs this checkout, starts the run under tmux.
#
#   tpu/launch.sh NAME ZONE TYPE CONFIG_FILE gs://BUCKET/RUN
#   tpu/launch.sh traps us-central1-b v3-8 configs/serengeti/faster_rcnn.yaml gs://mine/run
#
# The TFRecords that CONFIG_FILE names must be readable from the VM, so keep them in a bucket too.
# The same command resumes a run. Nothing is deleted: `gcloud compute tpus tpu-vm delete NAME`.
set -euo pipefail
if [ $# -ne 5 ]; then
  sed -n '2,8p' "$0"
  exit 2
fi
name=$1 zone=$2 type=$3 config=$4 model_dir=$5
here=$(cd "$(dirname "$0")/.." && pwd)
vm=(gcloud compute tpus tpu-vm)
at=("$name" "--zone=$zone")

"${vm[@]}" describe "${at[@]}" >/dev/null 2>&1 ||
  "${vm[@]}" create "${at[@]}" "--accelerator-type=$type" --version=tpu-ubuntu2204-base
git -C "$here" archive --format=tar.gz --output=/tmp/context-rcnn.tar.gz HEAD
"${vm[@]}" scp /tmp/context-rcnn.tar.gz "${at[0]}:" "${at[1]}" --worker=all
"${vm[@]}" ssh "${at[@]}" --worker=all --command="
  mkdir -p context-rcnn && tar xzf context-rcnn.tar.gz -C context-rcnn &&
  context-rcnn/tpu/install.sh"
"${vm[@]}" ssh "${at[@]}" --worker=all --command="
  cd context-rcnn && tmux new-session -d -s train \
  \"python3 -m context_rcnn.model_main_tf2 --use_tpu --config_file=$config \
    --model_dir=$model_dir 2>&1 | tee train.log\""
echo "training on $name; follow it with"
echo "  ${vm[*]} ssh ${at[*]} --command='tail -f context-rcnn/train.log'"
