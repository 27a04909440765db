#!/usr/bin/env bash
# Trains on a Cloud TPU VM: creates it, installs this checkout, starts the run under tmux.
#
#   tpu/launch.sh up     NAME ZONE TYPE CONFIG_FILE gs://BUCKET/RUN   create, install, train, or resume
#   tpu/launch.sh keep   NAME ZONE TYPE CONFIG_FILE gs://BUCKET/RUN   the same, again after each
#                                                                   pre-emption, until the run ends
#   tpu/launch.sh log    NAME ZONE                                  follow the run
#   tpu/launch.sh delete NAME ZONE                                  give the machine back
#
#   SPOT=1 tpu/launch.sh keep traps us-central1-a v5litepod-8 configs/serengeti/faster_rcnn.yaml gs://mine/run
#
# TYPE is a slice of v2 to v4, v5litepod (v5e), v5p or v6e. The TFRecords that CONFIG_FILE names must be
# readable from the VM, so keep them in a bucket too. Nothing is deleted but by `delete`, and a machine
# that was taken away.
#
#   SPOT=1        a machine that is cheaper, and may be taken away
#   RUNTIME=...   image of the VM, in place of the one for its TYPE. A slice of several machines
#                 needs an image with TensorFlow's server (tpu-vm-tf-*-pod-pjrt)
#   POLL=60       seconds between two looks of `keep`
set -euo pipefail
usage() {
  sed -n '2,21p' "$0"
  exit 2
}
verb=${1:-}
case $verb in
  up | keep) [ $# -eq 6 ] || usage ;;
  log | delete) [ $# -eq 3 ] || usage ;;
  *) usage ;;
esac
name=$2 zone=$3 type=${4:-} config=${5:-} model_dir=${6:-}
here=$(cd "$(dirname "$0")/.." && pwd)
vm=(gcloud compute tpus tpu-vm)
at=("$name" "--zone=$zone")

on_all() { "${vm[@]}" ssh "${at[@]}" --worker=all --command="$1"; }
on_first() { "${vm[@]}" ssh "${at[@]}" --worker=0 --command="$1"; }

state() {
  "${vm[@]}" describe "${at[@]}" --format='value(state)' 2>/dev/null || echo ABSENT
}

image() {
  case $type in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) echo tpu-ubuntu2204-base ;;
  esac
}

create() {
  "${vm[@]}" create "${at[@]}" "--accelerator-type=$type" "--version=${RUNTIME:-$(image)}" \
    ${SPOT:+--spot}
}

# The machine stands and is ready; one that was taken away is replaced.
stand() {
  while true; do
    case $(state) in
      READY) return ;;
      ABSENT) create ;;
      STOPPED) "${vm[@]}" start "${at[@]}" ;;
      PREEMPTED | TERMINATED)
        "${vm[@]}" delete "${at[@]}" --quiet
        create
        ;;
      *) sleep "${POLL:-60}" ;; # it comes or goes
    esac
  done
}

install() {
  local archive
  archive=$(mktemp -d)/context-rcnn.tar.gz
  git -C "$here" archive --format=tar.gz --output="$archive" HEAD
  "${vm[@]}" scp "$archive" "$name:" "--zone=$zone" --worker=all
  rm -r "$(dirname "$archive")"
  on_all "mkdir -p context-rcnn && tar xzf context-rcnn.tar.gz -C context-rcnn &&
    context-rcnn/tpu/install.sh"
}

# One machine sees its own chips. Of several, the first one trains, through the servers on all.
train() {
  local machines flags=--use_tpu variables=
  machines=$("${vm[@]}" describe "${at[@]}" --format='value(networkEndpoints.len())')
  if [ "${machines:-1}" -gt 1 ]; then
    if [[ "${RUNTIME:-}" != *pod* ]]; then
      echo "$type is $machines machines: set RUNTIME to an image with TensorFlow's server" >&2
      exit 2
    fi
    flags="--use_tpu --tpu_name=$name"
    variables="TPU_NAME=$name TPU_LOAD_LIBRARY=0"
  fi
  on_first "cd context-rcnn && { tmux has-session -t train 2>/dev/null || {
    rm -f train.status && tmux new-session -d -s train \
    \"$variables python3 -m context_rcnn.model_main_tf2 $flags --config_file=$config \
      --model_dir=$model_dir 2>&1 | tee -a train.log; echo \\\${PIPESTATUS[0]} > train.status\"; }; }"
}

up() {
  stand
  install
  train
}

# For `keep`: a machine that was taken away meanwhile is seen at the next look.
up_again() { "$0" up "$name" "$zone" "$type" "$config" "$model_dir" || [ "$(state)" != READY ]; }

case $verb in
  up)
    up
    echo "training on $name; tpu/launch.sh log $name $zone follows it"
    ;;
  keep)
    up_again
    while true; do
      sleep "${POLL:-60}"
      if [ "$(state)" != READY ]; then
        echo "$name is $(state): it is made again, and the run resumes"
        up_again
        continue
      fi
      # A machine that does not answer now is asked again, or gone at the next look.
      status=$(on_first "cat context-rcnn/train.status 2>/dev/null || true") || continue
      if [ -n "$status" ]; then
        on_first "tail -n 20 context-rcnn/train.log"
        echo "the run ended with status $status; tpu/launch.sh delete $name $zone gives $name back"
        exit "$status"
      fi
    done
    ;;
  log) on_first "tail -n 100 -f context-rcnn/train.log" ;;
  delete) "${vm[@]}" delete "${at[@]}" --quiet ;;
esac
