"""The paper's Figure 6 again, under cycle models of others and our own."""
