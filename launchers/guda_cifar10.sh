#!/usr/bin/env bash
# GUDA on CIFAR-10 (arXiv 2601.22651): its objectives and baselines beside LOGO's agreement with itself; `toy` on the
# typeface families of glyphs, drawn as digits, and a CPU. Trainings and unlearned models are shared by all jobs, and by
# all copies of this script that run at once. Further arguments go to every command; LAUNCHER=local or slurm runs jobs at
# once.
set -euo pipefail
# shellcheck source=launchers/common.sh
source "$(dirname "$0")/common.sh"
scale="${1:-paper}"
shift || true
ceiling="method@protocol.ceiling=logo_again"
objective="objective@method.objective"

case "$scale" in
  paper)
    setting=(experiment=guda_cifar10 "$ceiling")
    # the others than ReTrack clip. All are unlearned for 30 epochs (the authors score ReTrack there, of 50; of the others they
    # say nothing), ESD for its script's 50: steps 1 170 and 1 950 of a cosine planned for 17 550, whose warm-up takes 5 000
    # steps, ESD's 500
    published="method.unlearn.clip=1.0"
    esd=(method.unlearn.optimizer=adam method.unlearn.weight_decay=0 method.unlearn.warmup_steps=500)
    esd+=(method.unlearn.epochs=50 method.unlearn.learning_rate=3e-5)
    # ESD's teacher alone is conditional, and trained for 400 epochs
    teacher=(model@method.objective.teacher.model=unet_cifar10_conditional method.objective.teacher.train.epochs=400)
    teacher+=(method.objective.teacher.train.schedule_epochs=null)
    verdicts() {
      sweep "${setting[@]}" method=logo,group_similarity,logo_images,pixel "$@"
      sweep "${setting[@]}" method=guda_u "$objective=retrack_paper,retrack_published_code,retrack" "$@"
      sweep "${setting[@]}" method=guda_u "$objective=erasediff,siss,gradient_ascent,finetune" "$published" "$@"
      sweep "${setting[@]}" method=guda_u "$objective=esd" "${teacher[@]}" "$published" "${esd[@]}" "$@"
    }
    ;;
  toy)
    setting=(experiment=guda_glyphs "$ceiling")
    dimension="method.gradients.projection.dimension=4096"
    verdicts() {
      sweep "${setting[@]}" method=random,pixel,condition,features,group_similarity,logo_images,mucs "$@"
      sweep "${setting[@]}" method=das method.damping=20 "$dimension" "$@"
      sweep "${setting[@]}" method=dtrak method.damping=1e6 "$dimension" "$@"
      # ESD's teacher is trained as F1 is, and told the families
      sweep "${setting[@]}" method=guda_u "$objective=retrack_contrast,retrack,retrack_paper" "$@"
      sweep "${setting[@]}" method=guda_u "$objective=retrack_published_code,erasediff,siss,gradient_ascent,finetune,esd" "$@"
    }
    ;;
  *) usage ;;
esac
models() { sweep "${setting[@]}" "$@"; }
stages "$@"
