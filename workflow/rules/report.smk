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
        folder=subpath(output[0], parent=True),
        study=lambda wildcards: WHOLE,
    message:
        "report"
    shell:
        "python -m benchmark report {params.folder:q} --study {params.study:q} > {log:q} 2>&1"
