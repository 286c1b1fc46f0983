#!/usr/bin/env bash
# GUDA's ablations of ReTrack, one setting at a time: epochs, rate, weight, neighbours, and its clip and weighting; `toy`
# on the typeface families of glyphs, drawn as digits, and a CPU. Further arguments go to every command; LAUNCHER=local or
# slurm runs jobs at once.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"
scale="${1:-paper}"
shift || true
unlearn="method.unlearn"
ceiling="method@protocol.ceiling=logo_again"

case "$scale" in
  paper)
    models=(experiment=guda_cifar10 "$ceiling")
    setting=("${models[@]}" method=guda_u objective@method.objective=retrack_paper)
    length=("$unlearn.epochs=50" "$unlearn.kept=[10,20,30,40]" "method.scored=10,20,30,40,50") # of one unlearning
    rate="$unlearn.learning_rate=1e-4,3e-5,1e-5"
    weight="method.objective.weight=0.003,0.01,0.03"
    ;;
  toy)
    models=(experiment=guda_glyphs "$ceiling")
    setting=("${models[@]}" method=guda_u)
    length=("$unlearn.steps=50,100,150,300") # each unlearned by itself, as the rate falls over the steps that are run
    rate="$unlearn.learning_rate=1e-3,3e-4,1e-4"
    weight="method.objective.weight=0.03,0.1,0.3,1"
    ;;
  *) usage ;;
esac
models() { sweep "${models[@]}" "$@"; }
verdicts() {
  sweep "${setting[@]}" "${length[@]}" "$@"
  sweep "${setting[@]}" "$rate" "$@"
  sweep "${setting[@]}" "$weight" "$@"
  sweep "${setting[@]}" method.objective.neighbours=1,5,10,20,50 "$@"
  sweep "${setting[@]}" method.objective.kl_cap=null,1.0 method.objective.weighting=softmax,published_code "$@"
}
stages "$@"
