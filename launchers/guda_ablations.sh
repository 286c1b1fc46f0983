#!/usr/bin/env bash
# GUDA's ablations of ReTrack, one setting at a time: epochs, rate, weight, neighbours, and its clip and weighting; `toy`
# on the typeface families of glyphs, drawn as digits, and a CPU. Further arguments go to every command.
set -euo pipefail
PATH="$PATH:$(dirname "$0")/../.venv/bin" # of `make install`, unless another environment is active
scale="${1:-paper}"
shift || true
unlearn="method.unlearn"
ceiling="method@protocol.ceiling=logo_again"
case "$scale" in
  paper)
    setting="experiment=guda_cifar10 method=guda_u objective@method.objective=retrack_paper $ceiling"
    kept="$unlearn.epochs=50 $unlearn.kept=[10,20,30,40]" # of one unlearning
    length="method.scored=10,20,30,40,50"
    rate="$unlearn.learning_rate=1e-4,3e-5,1e-5"
    weight="method.objective.weight=0.003,0.01,0.03"
    ;;
  toy)
    setting="experiment=guda_glyphs method=guda_u $ceiling"
    kept="" # each unlearned by itself, as the rate falls over the steps that are run
    length="$unlearn.steps=50,100,150,300"
    rate="$unlearn.learning_rate=1e-3,3e-4,1e-4"
    weight="method.objective.weight=0.03,0.1,0.3,1"
    ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr -m $setting $kept "$length" "$@"
tdattr -m $setting "$rate" "$@"
tdattr -m $setting "$weight" "$@"
tdattr -m $setting method.objective.neighbours=1,5,10,20,50 "$@"
tdattr -m $setting method.objective.kl_cap=null,1.0 method.objective.weighting=softmax,published_code "$@"
tdattr-report
