if ROLE_RUNS and not WITHOUT_RUNS:

    rule roles:
        # A run's policy is in the folder of its record but not declared: without it this figure cannot
        # be made, but the run counts as finished.
        input:
            [f"{folder}/run.json" for folder in ROLE_RUNS],
        output:
            [marked(path, "Roles") if path.endswith((".png", ".md")) else path for path in ROLES],
        log:
            f"{RESULTS}/logs/roles.log",
        localrule: True
        conda:
            "../../environment.yml"
        threads: 1
        params:
            policies=[
                word for folder in ROLE_RUNS for word in ("--checkpoint", f"{folder}/policy.pt")
            ],
            battles=STUDY.roles.battles,
            folder=subpath(output[0], parent=True),
        message:
            f"roles of {', '.join(STUDY.roles.algorithms)} on {STUDY.roles.map}"
        shell:
            "NUMBA_NUM_THREADS={threads} python -m benchmark roles {params.policies:q}"
            " --battles {params.battles} --output {params.folder:q} > {log:q} 2>&1"
