"""`gpuwatch token`: what a job needs to speak over HTTP, printed for those who start jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpuwatch.agent.tokens import job_token, secret_of


def token(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's id as the agent has it.")],
    secret_file: Annotated[
        Path, typer.Option("--secret-file", metavar="FILE", help="The secret that agent.job_token_file names.")
    ],
) -> None:
    """Print the token by which this job, and no other, may report progress and declare over HTTP.

    For prologs and admission webhooks: the secret itself is not for jobs.
    """
    typer.echo(job_token(secret_of(secret_file), job))
