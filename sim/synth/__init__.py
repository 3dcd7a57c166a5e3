"""The hardware in gates: cell library, mapped netlist, and how fast it is."""
