"""Components that ship with DynaIP. Importing this package imports none of them."""
