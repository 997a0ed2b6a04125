"""`python -m harbor_jobs` is `harbor-jobs`."""

from harbor_jobs.cli import main

if __name__ == "__main__":
    main()
