"""The command `tokenswarm`, and `python -m tokenswarm` where it is not installed. It imports nothing before `main`, so
that a Ctrl-C while the parts are being loaded is a line, too."""

import sys


def main() -> None:
    try:
        from tokenswarm.cli.main import main as run_command

        run_command()
    except KeyboardInterrupt:
        from tokenswarm.redaction import write_line

        write_line("Stopped.", sys.stderr)
        sys.exit(130)  # as a shell shows a program that Ctrl-C has ended


if __name__ == "__main__":
    main()
