"""How every claim is measured: one command for each table and plot of docs/results."""
