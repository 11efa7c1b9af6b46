"""What makes the documentation: blocks of code that are run, pages that are generated from the code, notebooks as pages."""
