#!/usr/bin/env bash
# Tables 1, 5, 6, 7 and 8 of the MUCS paper (arXiv 2605.17938), which come from the same runs; `toy` on the digits of
# glyphs and a CPU.
# Further arguments go to every command.
set -euo pipefail
PATH="$PATH:$(dirname "$0")/../.venv/bin" # of `make install`, unless another environment is active
scale="${1:-paper}"
shift || true
common="random,condition,dtrak,das,forward_inf,abu,mucs"
case "$scale" in
  paper) tdattr -m experiment=mucs_cifar10,mucs_artbench10,mucs_coco "method=$common,clip,dino" seed=1,2,3,4,5,6 "$@" ;;
  toy)
    setting="experiment=glyph_digits seed=1,2,3"
    projection="method.gradients.projection.dimension"
    tdattr -m $setting method=random,condition,pixel,features,forward_inf,mucs "$@"
    tdattr -m $setting method=abu method.draws=4000 "$@"
    tdattr -m $setting method=das method.damping=20 $projection=4096 "$@" # dampings by launchers/lds.sh
    tdattr -m $setting method=dtrak method.damping=1e6 $projection=4096 "$@"
    tdattr -m $setting method=trak method.damping=5e4 $projection=4096 "$@"
    tdattr -m $setting method=tracin,gradient_cosine "$projection=choice(4096)" "$@"
    ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr-report
