"""One module for each group of `ladle`'s commands; imports that need an extra stand inside."""
