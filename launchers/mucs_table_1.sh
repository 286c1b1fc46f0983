#!/usr/bin/env bash
# Tables 1, 5, 6, 7 and 8 of the MUCS paper (arXiv 2605.17938), which come from the same runs; `toy` on the digits of
# glyphs and a CPU. Further arguments go to every command; LAUNCHER=local or slurm runs jobs at once.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"
scale="${1:-paper}"
shift || true

case "$scale" in
  paper)
    setting=("experiment=mucs_cifar10,mucs_artbench10,mucs_coco" "seed=1,2,3,4,5,6")
    verdicts() { sweep "${setting[@]}" method=random,condition,dtrak,das,forward_inf,abu,mucs,clip,dino "$@"; }
    ;;
  toy)
    setting=(experiment=glyph_digits "seed=1,2,3")
    projection="method.gradients.projection.dimension"
    verdicts() {
      sweep "${setting[@]}" method=random,condition,pixel,features,forward_inf,mucs "$@"
      sweep "${setting[@]}" method=abu method.draws=4000 "$@"
      sweep "${setting[@]}" method=das method.damping=20 "$projection=4096" "$@" # dampings by launchers/lds.sh
      sweep "${setting[@]}" method=dtrak method.damping=1e6 "$projection=4096" "$@"
      sweep "${setting[@]}" method=trak method.damping=5e4 "$projection=4096" "$@"
      sweep "${setting[@]}" method=tracin,gradient_cosine "$projection=choice(4096)" "$@"
    }
    ;;
  *) usage ;;
esac
models() { sweep "${setting[@]}" "$@"; }
stages "$@"
