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
        study=subpath(input[0], ancestor=2),
    message:
        "figures"
    shell:
        "python -m benchmark figures {params.study:q} > {log:q} 2>&1"


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
            study=subpath(input[0], ancestor=2),
            declared=hash_of({"ablations": [one.model_dump() for one in STUDY.ablations]}),
        message:
            "ablations"
        shell:
            "python -m benchmark ablations {params.study:q} > {log:q} 2>&1"
