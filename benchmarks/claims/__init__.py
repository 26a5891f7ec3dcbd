"""The papers' claims, each tried here on small nets that are trained end to end.

    python -m benchmarks.claims            # run what is missing, then write docs/claims.md
    python -m benchmarks.claims --table    # print the page of the results that are there

`claim.py` says what a claim is made of, `jobs.py` runs it, `page.py` judges and prints it. A family
of claims is a module of its own, listed in `families.py`.
"""
