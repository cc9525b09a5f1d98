"""The comparison table as plain rows, from every result.json below a folder; neither torch nor pandas is needed.

python table_from_results.py results
"""

import sys

import twinbench
from twinbench.protocols.metrics import unit_of

results = twinbench.read_results(sys.argv[1:] or ["results"])
rows = twinbench.table(results)  # pandas.DataFrame(rows) is a frame
for row in sorted(rows, key=lambda row: (row["protocol"], row["metric"], -unit_of(row["metric"]).merit(row["mean"]))):
    digits = unit_of(row["metric"]).decimals  # of percentages one, of errors three
    spread = "" if row["std"] is None else f" +-{row['std']:.{digits}f}"
    mark = "*" if row["place"] == 1 else " "  # the best of its column
    number = f"{mark}{row['mean']:.{digits}f}{spread}"
    print(f"{row['protocol']:28} {row['metric']:9} {row['method']:10} {number} (n={row['n']})")
