"""The programs of the matrix, a module for each family of them."""
