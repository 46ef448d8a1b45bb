# Published results. `compare` compares every study with the facts in results/published/, which come
# with the repository. `published` makes these facts again from the raw files:
#
#   snakemake --cores 1 published --config published=FOLDER    FOLDER/r3dm_release, FOLDER/acorm_release


rule compare:
    # Facts and claims are parameters, not inputs: only their content, never their date, makes it run.
    input:
        f"{RESULTS}/evaluations.parquet",
    output:
        [marked(path, "Published") if path.endswith(".png") else path for path in COMPARED],
    log:
        f"{RESULTS}/logs/compare.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        study=subpath(input[0], parent=True),
        facts=FACTS_HASH,
        claims=lambda wildcards: claims.PAPER.read_text(encoding="utf-8"),
    message:
        "compare with published results"
    shell:
        "python -m benchmark published compare {params.study:q} > {log:q} 2>&1"


rule import_release:
    input:
        raw=raw_files,
        mapping=lambda wildcards: sources.built_in()[wildcards.release],
    output:
        "results/imported/{release}/evaluations.parquet",
        "results/imported/{release}/import.json",
        "results/imported/{release}/findings.csv",
    log:
        "results/imported/{release}/import.log",
    wildcard_constraints:
        release="|".join(RELEASES),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        folder=subpath(output[0], parent=True),
    message:
        "import {wildcards.release}"
    shell:
        "python -m benchmark published import {input.raw:q} --source {wildcards.release}"
        " --output {params.folder:q} > {log:q} 2>&1"


rule facts:
    # They come with the repository: `update` restores them if this fails.
    input:
        imported=IMPORTED,
        claims=claims.PAPER,
    output:
        [update(f"results/published/{name}") for name in facts.outputs()],
    log:
        "results/imported/facts.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        imports=[f"results/imported/{release}" for release in RELEASES],
        folder=subpath(output[0], parent=True),
    message:
        "published facts"
    shell:
        "python -m benchmark published facts {params.imports:q} --claims {input.claims:q}"
        " --output {params.folder:q} > {log:q} 2>&1"


rule published:
    # Facts that came with the repository are not enough: this target is for the raw files.
    input:
        [f"results/published/{name}" for name in facts.outputs()],
        IMPORTED,
    output:
        update("docs/published_audit.md"),
    log:
        "results/imported/published.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        folder=subpath(input[0], parent=True),
    message:
        "what the audit found, in words"
    shell:
        "python -m benchmark published document --facts {params.folder:q}"
        " --output {output:q} > {log:q} 2>&1"
