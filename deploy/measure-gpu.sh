#!/usr/bin/env bash
# What an NVIDIA GPU is worth here: correctness first, then every engine beside its floor, then cameras held live.
#
#   deploy/measure-gpu.sh OUT [CLIP]      OUT: folder for the figures; CLIP: video, default the demo's
#
# Needs reid-stream[gpu]; from a clone also its tests. What has ended is left alone when run again, so that a short loan of
# a machine may be used in parts. STEP_S bounds each step.
set -uo pipefail
out=${1:?usage: measure-gpu.sh OUT [CLIP]}
clip=${2:+--clip $2}
mkdir -p "$out"
export REID_STREAM_ENGINES="${REID_STREAM_ENGINES:-$out/engines}"

step() { # NAME COMMAND...
  local name=$1
  shift
  [ -e "$out/$name.done" ] && return
  echo "== $name: $*"
  if timeout "${STEP_S:-540}" "$@" 2>&1 | tee "$out/$name.log" | tail -n 30; then touch "$out/$name.done"; else
    echo "== $name failed, the whole of it is in $out/$name.log"
  fi
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt"
if [ -d tests/engines ]; then step tests python -m pytest -q -m gpu tests/engines; fi
step compile reid-stream compile
step engines reid-stream bench engines --batch 1 --batch 8 --batch 64 --json "$out/engines.json"
# shellcheck disable=SC2086 # the clip is two words, or none
{
  step pipeline reid-stream bench pipeline $clip --cameras 16 --json "$out/pipeline.json"
  step pipeline-gpu-frames reid-stream bench pipeline $clip --cameras 16 --gpu-frames --json "$out/pipeline-gpu-frames.json"
  for fps in 30 10; do
    step "live-$fps" reid-stream bench pipeline $clip --find-max --max-fps "$fps" --cameras 16 --seconds 15 \
      --json "$out/live-$fps.json"
    step "live-$fps-gpu-frames" reid-stream bench pipeline $clip --find-max --max-fps "$fps" --cameras 16 --seconds 15 \
      --gpu-frames --json "$out/live-$fps-gpu-frames.json"
  done
}
echo "figures in $out:" "$out"/*.json
