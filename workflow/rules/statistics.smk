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


rule tables:
    input:
        STATISTICS,
    output:
        [marked(path, "Tables") if path.endswith(".md") else path for path in TABLES],
    log:
        f"{RESULTS}/logs/tables.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        statistics=subpath(input[0], parent=True),
        folder=subpath(output[0], parent=True),
    message:
        "tables"
    shell:
        "python -m benchmark tables {params.statistics:q} --output {params.folder:q} > {log:q} 2>&1"
