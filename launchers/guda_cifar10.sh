#!/usr/bin/env bash
# GUDA on CIFAR-10 (arXiv 2601.22651): its objectives and baselines beside LOGO's agreement with itself; `toy` on the
# typeface families of glyphs, drawn as digits, and a CPU. Trainings and unlearned models are shared by all copies that
# run at once. Further arguments go to every command.
set -euo pipefail
PATH="$PATH:$(dirname "$0")/../.venv/bin" # of `make install`, unless another environment is active
scale="${1:-paper}"
shift || true
ceiling="method@protocol.ceiling=logo_again"
case "$scale" in
  paper)
    setting="experiment=guda_cifar10 $ceiling"
    # the others than ReTrack clip. All are unlearned for 30 epochs (the authors score ReTrack there, of 50; of the others they
    # say nothing), ESD for its script's 50: steps 1 170 and 1 950 of a cosine planned for 17 550, whose warm-up takes 5 000
    # steps, ESD's 500
    published="method.unlearn.clip=1.0"
    esd="method.unlearn.optimizer=adam method.unlearn.weight_decay=0 method.unlearn.warmup_steps=500 method.unlearn.epochs=50"
    # ESD's teacher alone is conditional, and trained for 400 epochs
    teacher="model@method.objective.teacher.model=unet_cifar10_conditional method.objective.teacher.train.epochs=400"
    teacher="$teacher method.objective.teacher.train.schedule_epochs=null"
    tdattr -m $setting method=logo,group_similarity,logo_images,pixel "$@"
    tdattr -m $setting method=guda_u objective@method.objective=retrack_paper,retrack_published_code,retrack "$@"
    tdattr -m $setting method=guda_u objective@method.objective=erasediff,siss,gradient_ascent,finetune $published "$@"
    tdattr $setting method=guda_u objective@method.objective=esd $teacher $published $esd \
      method.unlearn.learning_rate=3e-5 "$@"
    ;;
  toy)
    setting="experiment=guda_glyphs $ceiling"
    tdattr -m $setting method=random,pixel,condition,features,group_similarity,logo_images "$@"
    tdattr $setting method=das method.damping=20 method.gradients.projection.dimension=4096 "$@"
    tdattr $setting method=dtrak method.damping=1e6 method.gradients.projection.dimension=4096 "$@"
    tdattr $setting method=mucs "$@"
    # ESD's teacher is trained as F1 is, and told the families
    tdattr -m $setting method=guda_u objective@method.objective=retrack_contrast,retrack,retrack_paper "$@"
    tdattr -m $setting method=guda_u objective@method.objective=retrack_published_code,erasediff,siss,gradient_ascent,finetune,esd "$@"
    ;;
  *) echo "usage: $0 [paper|toy] [overrides]" >&2; exit 2 ;;
esac
tdattr-report
