"""Every error that Drumbeat raises on purpose, as one tree.

    DrumbeatError            exit 1
    ├── UsageError           exit 2   the command was called in a way that cannot work
    ├── ProjectError         exit 3   files of the project are wrong; carries the issues
    ├── InputError           exit 4   data to import, or an answer from outside, is wrong
    ├── StoreError           exit 5   the database is unreachable, old, or busy
    ├── RenderError          exit 6   a mail cannot be rendered
    └── DeliveryError        exit 7   the delivery backend cannot be used

The text of an error is one line: what was found, what was expected, what to do.
The command line prints that line; `-v` adds the traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drumbeat.issues import Issue


class DrumbeatError(Exception):
    """Base of every error raised on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(DrumbeatError):
    """The command, or a function, was called with arguments that cannot work."""

    exit_code = 2


class ProjectError(DrumbeatError):
    """Files of the project are wrong. Carries `issues`, all faults found at once."""

    exit_code = 3

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        super().__init__("\n".join(str(issue) for issue in self.issues))


class InputError(DrumbeatError):
    """Data to import, or something else from outside, cannot be read."""

    exit_code = 4


class StoreError(DrumbeatError):
    """The database is unreachable, not upgraded, newer than this program, or stays locked."""

    exit_code = 5


class RenderError(DrumbeatError):
    """A mail cannot be rendered: a name its template uses is missing, or a check failed."""

    exit_code = 6


class DeliveryError(DrumbeatError):
    """The delivery backend as a whole cannot be used: unreachable, refused login, bad certificate."""

    exit_code = 7
