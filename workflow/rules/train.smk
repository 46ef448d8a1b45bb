rule train:
    input:
        no_files,
    # No input files: only the configuration can cause a new training, never a file's date, and with
    # profiles/default neither this text. The checkpoint in the run's folder is not declared, so that
    # a retry continues from it. The number of retries belongs to the profile: here it would also
    # hold on a cluster's nodes, where a stopped run must end instead of beginning again.
    output:
        evaluations=f"{RUN}/evaluations.parquet",
        record=f"{RUN}/run.json",
    log:
        f"{RUN}/job.log",
    benchmark:
        f"{RUN}/job.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu_percent=0,  # of a GPU that runs share, see profiles/gpu; 0 for none that is shared
    params:
        study=subpath(output.record, ancestor=7),
        folder=subpath(output.record, parent=True),
    message:
        "train {wildcards.algorithm} on {wildcards.map}, seed {wildcards.seed}, {wildcards.variant}"
    shell:
        "NUMBA_NUM_THREADS={threads} BENCHMARK_GPU_PERCENT={resources.gpu_percent}"
        " python -m benchmark train --study {params.study:q}"
        " --map {wildcards.map:q} --algorithm {wildcards.algorithm:q}"
        " --variant {wildcards.variant:q} --seed {wildcards.seed} --output {params.folder:q}"
        f" --replace {RERUN or 'changed'} > {{log:q}} 2>&1"


rule runs:
    input:
        run_records,
    message:
        f"all runs of {STUDY.name}"
