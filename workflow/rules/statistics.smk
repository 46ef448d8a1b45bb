if not WITHOUT_RUNS:

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
            study=subpath(output.table, parent=True),
            grid=GRID,
        message:
            f"aggregate {len(RUNS)} runs"
        shell:
            "python -m benchmark aggregate {params.study:q} > {log:q} 2>&1"


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
        study=subpath(input[0], parent=True),
        replications=STUDY.statistics.replications,
        seed=STUDY.statistics.seed,
    message:
        "statistics"
    shell:
        "python -m benchmark statistics {params.study:q}"
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
        study=subpath(input[0], ancestor=2),
    message:
        "tables"
    shell:
        "python -m benchmark tables {params.study:q} > {log:q} 2>&1"
