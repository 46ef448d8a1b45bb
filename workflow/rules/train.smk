rule train:
    # No input files: only the configuration, never a file's date, can cause a new training. The
    # checkpoint in the run's folder is not declared either, so that a retry continues from it.
    output:
        evaluations=f"{RUN}/evaluations.parquet",
        record=f"{RUN}/run.json",
    params:
        config=resolved_run,
        folder=subpath(output.record, parent=True),
    log:
        f"{RUN}/job.log",
    benchmark:
        f"{RUN}/job.tsv"
    retries: 3
    threads: 1
    conda:
        "../../environment.yml"
    message:
        "training {wildcards.algorithm} on {wildcards.map}, seed {wildcards.seed} ({wildcards.variant})"
    shell:
        "NUMBA_NUM_THREADS={threads} {PYTHON} -m benchmark train"
        " --resolved {params.config:q} --output {params.folder:q} > {log:q} 2>&1"


rule runs:
    input:
        run_files,
