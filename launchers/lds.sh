#!/usr/bin/env bash
# LDS as D-TRAK and DAS take it (64 halves, 3 trainings each). The first sweep tells the best dampings by the control
# images; at paper scale, give them to the second with method.damping=... `toy`: 32 halves of the digits of glyphs, one
# training each, with the dampings that were found there. The trainings are shared by all methods, and by all copies of
# this script that run at once. Further arguments go to every command; LAUNCHER=local or slurm runs jobs at once.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"
scale="${1:-paper}"
shift || true
gradients="trak,dtrak,das"
projection="method.gradients.projection.dimension"

case "$scale" in
  paper)
    setting=(experiment=mucs_cifar10 protocol=lds)
    verdicts() {
      sweep "${setting[@]}" "method=$gradients" "method.damping=choice(grid)" queries.explained=controls "$@"
      sweep "${setting[@]}" "method=random,pixel,condition,$gradients,tracin,gradient_cosine,forward_inf,abu,mucs" "$@"
    }
    ;;
  toy) # with the dampings that a grid found: 0.01, 50 and 5 times the 4096 dimensions
    setting=(experiment=glyph_digits protocol=lds protocol.subsets=32 protocol.repeats=1 protocol.draws=1000)
    verdicts() {
      sweep "${setting[@]}" "method=$gradients" "method.damping=choice(grid)" "$projection=choice(4096)" \
        queries.explained=controls "$@"
      sweep "${setting[@]}" method=random,pixel,condition,features,forward_inf,mucs "$@"
      sweep "${setting[@]}" method=abu method.draws=4000 "$@"
      sweep "${setting[@]}" method=das method.damping=20 "$projection=4096" "$@"
      sweep "${setting[@]}" method=dtrak method.damping=1e6 "$projection=4096" "$@"
      sweep "${setting[@]}" method=trak method.damping=5e4 "$projection=4096" "$@"
      sweep "${setting[@]}" method=tracin,gradient_cosine "$projection=choice(4096)" "$@"
      sweep "${setting[@]}" ablation=subtraction,fresh_noise "$@"
    }
    ;;
  *) usage ;;
esac
models() { sweep "${setting[@]}" "$@"; }
stages "$@"
