"""The process in which atheris tries one property: `python -m tests.fuzz.target <property>`."""

import sys

import atheris


def main(name: str, options: list[str]) -> None:
    """Run until a property does not hold, or as long as the options say."""
    with atheris.instrument_imports(include=["sidecar.core", "sidecar.proxy"]):
        from tests.fuzz.properties import PROPERTIES

    atheris.Setup([sys.argv[0], *options], PROPERTIES[name], enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
