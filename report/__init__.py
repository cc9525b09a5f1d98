"""The numbers: one result schema, statistics, tables and pages. Needs neither torch nor Detectron2."""
