"""``python -m tapeline``, and the command ``tapeline``."""

from tapeline.interrupts import leave_at_once


def main() -> None:
    """Run the command line. Ctrl-C ends it from the first moment on, while its modules are still imported."""
    leave_at_once()
    from tapeline.cli import app

    app()


if __name__ == "__main__":
    main()
