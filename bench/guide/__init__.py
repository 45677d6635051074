"""A page for each method and an index that compares them. Nothing of it is written by hand: all comes from docstrings,
search spaces, results and the code.

What is read       `docstrings`, `recipe`, `built`, `evidence`, `importance`
What is written    `page`, `index`, `markdown`, `pages`
"""
