rule report:
    input:
        f"{RESULTS}/evaluations.parquet",
        f"{RESULTS}/runs.json",
        STATISTICS,
        TABLES,
        FIGURES,
        ABLATIONS,
        COMPARED,
        role_files,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        study=subpath(output[0], parent=True),
        declared=WHOLE,
        stale=STALE,
    message:
        "report"
    shell:
        "python -m benchmark report {params.study:q} > {log:q} 2>&1"
