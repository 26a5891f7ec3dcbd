"""`python -m tubelet`, which is also what torchrun starts."""

from tubelet.cli import script

if __name__ == "__main__":
    script()
