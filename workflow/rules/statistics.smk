rule aggregate:
    input:
        run_records,
    output:
        table=f"{RESULTS}/evaluations.parquet",
        provenance=f"{RESULTS}/runs.json",
    log:
        f"{RESULTS}/logs/aggregate.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output.table, parent=True),
        runs=list(RUNS),
        study=lambda wildcards: GRID,
    message:
        f"aggregate {len(RUNS)} runs"
    shell:
        "python -m benchmark aggregate {params.folder:q} {params.runs:q}"
        " --study {params.study:q} > {log:q} 2>&1"


rule statistics:
    input:
        f"{RESULTS}/evaluations.parquet",
    output:
        STATISTICS,
    log:
        f"{RESULTS}/logs/statistics.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output[0], parent=True),
        replications=STUDY.statistics.replications,
        seed=STUDY.statistics.seed,
    message:
        "statistics"
    shell:
        "python -m benchmark statistics {input:q} --output {params.folder:q}"
        " --replications {params.replications} --seed {params.seed} > {log:q} 2>&1"
