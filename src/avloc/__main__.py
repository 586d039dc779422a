"""`python -m avloc`, which is what launchers such as torchrun call."""

from avloc.cli import main

main()
