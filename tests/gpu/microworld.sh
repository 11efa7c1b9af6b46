#!/usr/bin/env bash
# All models of microworld on one accelerator, from the root of a checkout, without a network:
#   OUT=folder bash tests/gpu/microworld.sh [MINUTES of training] [SECONDS until everything must be written]
# START=microworld goes on from the models that ship (base, and the autoencoder's decoder) instead of from nothing.
# KEEP=1 brings the checkpoints back as well (some 100 MB), from which a build on any machine goes on.
# Leaves in OUT one archive a part as soon as the part is done, a contact sheet, figures, and the logs. Where stages fail they are
# tried again step by step; a base that is cut off leaves its moving average.
set -u
minutes=${1:-3.9} limit=${2:-325} began=$SECONDS
OUT=${OUT:-microworld-out}; mkdir -p "$OUT"
world=${WORLD:-/tmp/microworld}; mkdir -p "$world"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
python=${PYTHON:-python3} device=${DEVICE:-auto} scale=${SCALE:-1} done=$world/checkpoints
exec 3>&1 >"$OUT/log.txt" 2>&1

left() { echo $((limit - (SECONDS - began))); }
say() { echo "[$((SECONDS - began)) s] $*" | tee /dev/fd/3; }
fell() {  # fell PID: it and all that it started
    for child in $(pgrep -P "$1"); do fell "$child"; done
    kill "$1" 2>/dev/null
}
build() {
    exec "$python" -m dynaip.cli microworld build "$world" --device "$device" --scale "$scale" --threads 2 --beside ${START:+--start "$START"} "$@" \
        --stage autoencoder --stage clip --stage base --stage oracle --stage adapter
}
pack() {  # pack PART: once its stage is done
    [ -e "$OUT/$1.tar" ] || { tar -C "$world" -cf "$world/.tar" "$1" && mv "$world/.tar" "$OUT/$1.tar" && say "packed $1"; }
}
packs() {
    for stage in clip:vision base:pipeline oracle:oracle adapter:adapter; do
        [ -e "$done/${stage%:*}.done" ] && pack "${stage#*:}"
    done
}
look() {  # a contact sheet and figures, beside what is still in the making
    "$python" -m dynaip.cli microworld build "$world" --device "$device" --stage sheet && cp "$world/sheet.png" "$OUT/"
    while [ ! -e "$done/oracle.done" ]; do sleep 1; done
    "$python" -m dynaip.cli microworld measure "$world" --count "${COUNT:-200}" --threads 2 --device "$device"
}
follow() {  # follow PID: until it ends or time is up
    while kill -0 "$1" 2>/dev/null && [ "$(left)" -gt 10 ]; do
        packs
        [ -z "$looking" ] && [ -e "$done/base.done" ] && { look & looking=$!; }
        sleep 1
    done
}

looking=
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader
build --minutes "$minutes" --compile & building=$!
follow $building
if ! kill -0 $building 2>/dev/null && ! wait $building && [ "$(left)" -gt 60 ]; then
    say "stages failed: again, step by step"
    build --minutes "$("$python" -c "print(max(0.2, ($(left) - 50) / 60))")" --eager & building=$!
    follow $building
fi
[ -e "$world/pipeline/model_index.json" ] || [ ! -e "$done/base.ckpt" ] ||
    { "$python" -m dynaip_plugins.microworld.making.rescue "$world" && pack pipeline; }
packs
while [ -n "$looking" ] && kill -0 "$looking" 2>/dev/null && [ "$(left)" -gt 4 ]; do sleep 1; done
for process in $(jobs -p); do fell "$process"; done
(cd "$world" && tar -czf "$OUT/logs.tar.gz" $(ls checkpoints/*.json* checkpoints/adapter-run/metrics.jsonl trainings.json \
    figures.json MODEL_CARD.md 2>/dev/null))
[ -z "${KEEP:-}" ] || tar -C "$world" -cf "$OUT/checkpoints.tar" checkpoints/*.ckpt checkpoints/*.done checkpoints/vae
say end
{ tail -c 5000 "$OUT/log.txt"; for name in "$done"/*.jsonl; do echo "$name"; tail -1 "$name"; done
  head -50 "$world/MODEL_CARD.md"; ls -la "$OUT"; } >&3 2>&1
