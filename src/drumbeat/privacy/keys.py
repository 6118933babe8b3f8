"""The project's secrets, as far as privacy needs them."""

from __future__ import annotations

import os

from drumbeat.errors import UsageError
from drumbeat.project.load import Project
from drumbeat.rendering.links import SHORTEST_KEY
from drumbeat.rendering.secret import load_secrets
from drumbeat.store.erased import Erased


def erased_of(project: Project) -> Erased:
    """Return what knows the project's erased addresses again; secrets are read when the first one is needed.

    Raises UsageError then, as `secrets_of` does.
    """
    return Erased(lambda: secrets_of(project))


def secrets_of(project: Project) -> list[bytes]:
    """Return the secrets that erased addresses are hashed with, the one for new ones first.

    Those of the variable `privacy.key_env`, then the links' own. Raises UsageError where the variable is named
    and not set, or holds a secret that is too short.
    """
    links = load_secrets(project.root, project.config.tracking.secret_env)
    variable = project.config.privacy.key_env
    if variable is None:
        return links
    own = [word.encode() for word in os.environ.get(variable, "").split()]
    if not own:
        raise UsageError(
            f"the environment variable {variable} is not set; privacy.key_env in project.yaml names it"
        )
    if any(len(secret) < SHORTEST_KEY for secret in own):
        raise UsageError(
            f"environment variable {variable} holds a secret under {SHORTEST_KEY} characters; try `openssl rand -hex 32`"
        )
    return list(dict.fromkeys([*own, *links]))


def link_secrets(project: Project) -> list[bytes]:
    """Return the secrets that links, tokens and the names of messages are made with."""
    return load_secrets(project.root, project.config.tracking.secret_env)
