#!/usr/bin/env bash
# LDS as D-TRAK and DAS take it (64 halves, 3 trainings each). The first command tells the best dampings by the control
# images; at paper scale, give them to the second with method.damping=... `toy`: 32 halves of the digits of glyphs, one
# training each, with the dampings that were found there. The trainings are shared by all methods, and by all copies of
# this script that run at once. Further arguments go to every command.
set -euo pipefail
PATH="$PATH:$(dirname "$0")/../.venv/bin" # of `make install`, unless another environment is active
scale="${1:-paper}"
shift || true
similarities="random,pixel,condition"
gradients="trak,dtrak,das"
others="tracin,gradient_cosine,forward_inf,abu,mucs"
projection="method.gradients.projection.dimension"
case "$scale" in
  paper)
    setting="experiment=mucs_cifar10 protocol=lds"
    tdattr -m $setting "method=$gradients" "method.damping=choice(grid)" queries.explained=controls "$@"
    tdattr -m $setting "method=$similarities,$gradients,$others" "$@"
    ;;
  toy) # with the dampings that a grid found: 0.01, 50 and 5 times the 4096 dimensions
    setting="experiment=glyph_digits protocol=lds protocol.subsets=32 protocol.repeats=1 protocol.draws=1000"
    tdattr -m $setting "method=$gradients" "method.damping=choice(grid)" "$projection=choice(4096)" \
      queries.explained=controls "$@"
    tdattr -m $setting "method=$similarities,features,forward_inf,mucs" "$@"
    tdattr $setting method=abu method.draws=4000 "$@"
    tdattr $setting method=das method.damping=20 $projection=4096 "$@"
    tdattr $setting method=dtrak method.damping=1e6 $projection=4096 "$@"
    tdattr $setting method=trak method.damping=5e4 $projection=4096 "$@"
    tdattr -m $setting method=tracin,gradient_cosine "$projection=choice(4096)" "$@"
    tdattr -m $setting ablation=subtraction,fresh_noise "$@"
    ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr-report
