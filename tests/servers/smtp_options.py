"""The options of smtp_server.py."""

from __future__ import annotations

import argparse

FLAGS = (
    "--keep-content",
    "--smtputf8",
    "--no-pipelining",
    "--no-8bit",
    "--helo-only",  # knows no EHLO
    "--eager-data",  # 354 though no recipient was taken
    "--auth-after-tls",
    "--implicit-tls",
)


def parse(description: str) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", required=True)
    parser.add_argument("--script", default="{}")
    parser.add_argument("--user", help="user:password, or user:token; a login is then needed")
    parser.add_argument("--auth", default="PLAIN LOGIN")
    parser.add_argument("--max-connections", type=int, default=0, help="more are told 421 at the greeting")
    parser.add_argument("--delay-ms", type=float, default=0)
    for number in ("--port", "--size"):
        parser.add_argument(number, type=int, default=0)
    for path in ("--trace", "--certificate", "--key"):
        parser.add_argument(path)
    for flag in FLAGS:
        parser.add_argument(flag, action="store_true")
    return parser.parse_args()
