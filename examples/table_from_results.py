"""The comparison table as plain rows, from every result.json below a folder; neither torch nor pandas is needed.

python table_from_results.py results
"""

import sys

import twinbench

results = twinbench.read_results(sys.argv[1:] or ["results"])
rows = twinbench.table(results)  # pandas.DataFrame(rows) is a frame
for row in sorted(rows, key=lambda row: (row["protocol"], row["metric"], -row["mean"])):
    spread = "" if row["std"] is None else f" +-{row['std']:.1f}"
    mark = "*" if row["place"] == 1 else " "  # the best of its column
    print(f"{row['protocol']:28} {row['metric']:9} {row['method']:10} {mark}{row['mean']:.1f}{spread} (n={row['n']})")
