#!/usr/bin/env bash
# Measure an NVIDIA GPU: correctness first, then each engine, then the number of live cameras it holds.
#
#   deploy/measure-gpu.sh OUT CLIP      OUT: folder for the figures; CLIP: H.264 or H.265 video of people
#
# Needs reid-stream[gpu], and from a checkout also its tests. Finished steps are skipped when run again, so that the work can
# be done in parts. STEP_S bounds each step, in seconds. Ends with 1 if any step failed.
set -uo pipefail
out=${1:?usage: measure-gpu.sh OUT CLIP}
clip=${2:?usage: measure-gpu.sh OUT CLIP}
mkdir -p "$out"
export REID_STREAM_ENGINES="${REID_STREAM_ENGINES:-$out/engines}"
failed=0

step() { # NAME COMMAND...
  local name=$1
  shift
  [ -e "$out/$name.done" ] && return
  echo "== $name: $*"
  if timeout -k 10 "${STEP_S:-540}" "$@" >"$out/$name.log" 2>&1; then touch "$out/$name.done"; else
    failed=1
    echo "== $name failed"
  fi
  tail -n 30 "$out/$name.log"
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/gpu.txt" || exit 1
if [ -d tests/engines ]; then step tests python -m pytest -q -m gpu tests/engines; fi
step compile reid-stream compile
step engines reid-stream bench engines --batch 1 --batch 8 --batch 64 --json "$out/engines.json"
for way in host gpu-frames; do
  stays=()
  [ "$way" = gpu-frames ] && stays=(--gpu-frames)
  step "pipeline-$way" reid-stream bench pipeline --clip "$clip" --cameras 16 "${stays[@]}" --json "$out/pipeline-$way.json"
  for fps in 30 10; do
    # About eight loads of half a minute each.
    step "live-$fps-$way" reid-stream bench pipeline --clip "$clip" --find-max --max-fps "$fps" --cameras 32 --seconds 8 \
      "${stays[@]}" --json "$out/live-$fps-$way.json"
  done
done
echo "figures in $out:" "$out"/*.json
exit "$failed"
