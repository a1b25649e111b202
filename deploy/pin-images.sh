#!/usr/bin/env bash
# Write the digests of the container images to deploy/.env, which `docker compose` reads. Run once, and to update.
set -euo pipefail
cd "$(dirname "$0")"
for image in PYTHON_IMAGE=python:3.12-slim REDIS_IMAGE=redis:7-alpine \
  PROMETHEUS_IMAGE=prom/prometheus:latest GRAFANA_IMAGE=grafana/grafana:latest CAMERA_IMAGE=bluenviron/mediamtx:latest-ffmpeg; do
  tag=${image#*=}
  digest=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}')
  case $digest in
    sha256:*) echo "# $tag" && echo "${image%%=*}=${tag%%:*}@$digest" ;;
    *) echo "pin-images: the digest of $tag must be sha256:..., got '$digest'" >&2 && exit 1 ;;
  esac
done >.env.part
mv .env.part .env
cat .env
