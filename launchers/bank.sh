#!/usr/bin/env bash
# Every method, judged by the bank of a dataset, glyph_digits unless an argument says otherwise: dataset=digits. Nothing
# but F1 is trained. `tdattr-bank` afterwards gathers them into the bank's leaderboard. Arguments go to every command;
# LAUNCHER=local or slurm runs jobs at once. The dampings are those that the controls chose:
#   tdattr protocol=bank method=das method.damping=grid queries.explained=controls
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"
setting=(protocol=bank)
projection="method.gradients.projection.dimension"
objective="objective@method.objective"

models() { sweep "${setting[@]}" "$@"; }
verdicts() {
  sweep "${setting[@]}" method=random,pixel,condition,features,group_similarity,forward_inf,mucs "$@"
  sweep "${setting[@]}" method=abu method.draws=4000 "$@"
  sweep "${setting[@]}" method=das method.damping=10 "$projection=4096" "$@"
  sweep "${setting[@]}" method=dtrak method.damping=2e5 "$projection=4096" "$@"
  sweep "${setting[@]}" method=trak method.damping=2e3 "$projection=4096" "$@"
  sweep "${setting[@]}" method=tracin,gradient_cosine "$projection=choice(4096)" "$@"
  sweep "${setting[@]}" ablation=subtraction "$@"
  sweep "${setting[@]}" method=guda_u "$objective=retrack_contrast,retrack" "$@"
}
stages "$@"
