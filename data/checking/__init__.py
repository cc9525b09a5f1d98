"""Is a data set whole, which ones are known, and where to fetch them."""
