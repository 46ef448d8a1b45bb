# A study from its file in config/ to its report, each step only where something is missing or has
# changed:
#
#   train       workflow/rules/train.smk       one run: map x algorithm x variant x seed
#   aggregate   workflow/rules/statistics.smk  all runs -> one table of evaluations
#   statistics  workflow/rules/statistics.smk  the table -> every number that is shown
#   tables      workflow/rules/statistics.smk
#   figures     workflow/rules/figures.smk
#   compare     workflow/rules/published.smk   the study compared with published results
#   roles       workflow/rules/roles.smk       policies of some runs, shown and measured in battle
#   report      workflow/rules/report.smk      one HTML page
#
#   snakemake --cores 8 all                                        the study config/paper.yaml
#   snakemake --cores 2 all --configfile config/smoke.yaml         another study
#   snakemake --profile profiles/slurm all                         elsewhere: see docs/clusters.md
#   snakemake -n --quiet reason                                    what would be done
#   snakemake --cores 8 all --config rerun=stale                   also the runs that other code made
#   snakemake --cores 8 runs                                       training only
#   snakemake --report paper.zip                                   Snakemake's own report, with times
#   snakemake --cores 1 published --config published=FOLDER        published results, from raw files
from snakemake.utils import min_version

min_version("9.20")

if not workflow.overwrite_configfiles:  # a study file is whole, it is never merged with another

    configfile: "config/paper.yaml"


# Only read with --software-deployment-method apptainer, see docs/clusters.md.
container: "r3dm-benchmark.sif"


include: "workflow/rules/common.smk"


rule all:
    default_target: True
    input:
        whole_study,
    message:
        f"study {STUDY.name}"


include: "workflow/rules/train.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/roles.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/published.smk"
include: "workflow/rules/report.smk"
