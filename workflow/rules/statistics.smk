rule aggregate:
    input:
        run_files,
    output:
        f"{RESULTS}/evaluations.parquet",
        f"{RESULTS}/runs.json",
    params:
        runs=list(RUNS),
    log:
        f"{RESULTS}/logs/aggregate.log",
    localrule: True
    conda:
        "../../environment.yml"
    shell:
        "{PYTHON} -m benchmark aggregate {RESULTS:q} {params.runs:q} > {log:q} 2>&1"
