rule figures:
    input:
        STATISTICS,
    output:
        [marked(path, "Figures") if path.endswith(".png") else path for path in FIGURES],
    log:
        f"{RESULTS}/logs/figures.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        statistics=subpath(input[0], parent=True),
        folder=subpath(output[0], parent=True),
    message:
        "figures"
    shell:
        "python -m benchmark figures {params.statistics:q} --output {params.folder:q} > {log:q} 2>&1"


if STUDY.ablations:

    rule ablations:
        input:
            STATISTICS,
        output:
            [
                marked(path, "Ablations") if path.endswith((".png", ".md")) else path
                for path in ABLATIONS
            ],
        log:
            f"{RESULTS}/logs/ablations.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            statistics=subpath(input[0], parent=True),
            folder=subpath(input[0], ancestor=2),
            declared=lambda wildcards: DECLARED,
        message:
            "ablations"
        shell:
            "python -m benchmark ablations {params.statistics:q} {params.declared:q}"
            " --output {params.folder:q} > {log:q} 2>&1"
